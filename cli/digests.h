/// \file
/// SHA-256 of every tensor and file of a view.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/terminal.h"
#include "convert/base/result.h"
#include "convert/convert.h"

namespace weightfs::cli {

/// Values; digests are 64 lower-case hexadecimal digits.
struct TensorDigest {
  std::string
      set;  ///< Folder and stem of its files, whatever the sharding: "model", "unet/diffusion_pytorch_model".
  std::string name;
  std::string file;   ///< Served file, relative path.
  std::string dtype;  ///< As in a safetensors header.
  Shape shape;
  uint64_t size_bytes = 0;
  std::string sha256;  ///< Of its bytes as served.
};
struct FileDigest {
  std::string path;
  uint64_t size_bytes = 0;
  std::string sha256;
  bool holds_tensors = false;
};
struct Digests {
  std::vector<FileDigest> files;      ///< In order of their paths.
  std::vector<TensorDigest> tensors;  ///< In order of the report.
};

/// The bytes of all files that the tree lists, for a progress line.
uint64_t ListedBytes(const VirtualTree& tree);

/// Reads everything once and digests it. `files_at_once` files are read at once, each by one thread, with two
/// more that digest; memory: about 8 MiB for each such file.
/// \error kIo, kStale, kCorrupt  a read failed; kInternal  the digest library failed
Result<Digests> ComputeDigests(const OpenedSource& opened, uint32_t files_at_once, Progress& progress);

/// The set of a served weight file: its path without shard numbers and ending.
std::string SetOfFile(std::string_view path);

}  // namespace weightfs::cli
