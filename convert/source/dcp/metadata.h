/// \file
/// What the `.metadata` pickles of a distributed checkpoint say: tensors, their chunks, and where those lie.
///
/// Follows docs/formats/dcp.md, "The metadata". Classes are told by the last part of their names, since each
/// has moved between modules and some trainers have their own; nothing is called.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/result.h"
#include "convert/io/random_access_file.h"
#include "convert/source/checkpoint.h"
#include "convert/source/torch/storage.h"
#include "convert/view/tensor_view.h"

namespace weightfs {

/// Where the bytes of a chunk are, as the metadata has it; not checked against any file.
struct DcpPlace {
  uint32_t file = 0;  ///< Index in `DcpMetadata::files`.
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;
  bool is_zstd = false;  ///< The bytes are a zstd frame around the payload.
};

/// A box of a tensor. Of the tensor's rank; within the tensor, unless it is empty.
struct DcpChunk {
  Shape offsets;
  Shape sizes;
  std::optional<DcpPlace> place;  ///< Nothing when the metadata names none.
};

/// A key of the saved state, as a path: what lies between the nesting levels of the saved value, integers in
/// decimal. One component where the metadata does not say how it was nested.
using DcpPath = std::vector<std::string>;

struct DcpTensor {
  std::string name;  ///< The flattened key.
  DcpPath path;
  const TorchDType* dtype = nullptr;  ///< nullptr: none that torch is known to have.
  std::string dtype_name;             ///< "torch.float32"
  Shape shape;
  std::vector<DcpChunk> chunks;
};

/// A value that is not a tensor.
struct DcpValue {
  std::string name;
  DcpPath path;
};

/// One checkpoint, joined from one metadata file or from those of all ranks. A value.
struct DcpMetadata {
  std::vector<DcpTensor> tensors;  ///< In the order of the files.
  std::vector<DcpValue> values;
  std::vector<std::string> files;  ///< Names of payload files: plain names, in the folder of the metadata.
  uint64_t metadata_bytes = 0;     ///< Of pickles that were read.
};

/// Reads and joins metadata files.
/// \param files  `.metadata`, or one of each rank in order; at least one
/// \error kCorrupt        not a pickle, not DCP metadata, values of other types, a chunk outside its tensor,
/// a
///                        payload file that is no plain name, ranks that contradict each other in the dtype
///                        or the size of a tensor; names file and tensor
/// \error kUnsupported    a transform of the payload that is not known
/// \error kLimitExceeded  as pickle::Parse; more tensors or dimensions than the limits allow
/// \error kIo, kStale     as RandomAccessFile::ReadAt
Result<DcpMetadata> ReadDcpMetadata(std::span<const FilePtr> files, const Limits& limits);

}  // namespace weightfs
