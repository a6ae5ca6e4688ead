/// \file
/// Reads checkpoints that torch.save wrote as zip archives (torch 1.4 on).
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "convert/base/result.h"
#include "convert/source/checkpoint.h"
#include "convert/source/torch/rebuild.h"
#include "convert/source/torch/torch_object.h"

namespace weightfs {

/// Reads the value that `file`, a zip archive of torch, holds, without saying what it means.
/// \error as ReadTorchZip, without those of ReadStateDict
Result<TorchObject> ReadTorchZipObject(const FilePtr& file, const SourceContext& context);

/// Reads the metadata of `file`, a zip archive of torch. Follows docs/formats/torch.md.
/// \error kUnsupported  archives of other kinds (TorchScript, torch.package, torch.export, .mar, npz, ...)
/// \error as ZipDirectory::Read, pickle::Parse and ReadStateDict
Result<Checkpoint> ReadTorchZip(const FilePtr& file, const SourceContext& context);

/// The small pickles that were read last, parsed: archives of one save repeat them. Used by one thread.
class PickleCache {
 public:
  /// The tree of `bytes`, a pickle, which is parsed unless it was lately.
  /// \error as pickle::Parse
  Result<std::shared_ptr<const pickle::Tree>> Parse(std::string bytes, std::string_view name,
                                                    const Limits& limits);

 private:
  struct Entry {
    std::string bytes;
    std::shared_ptr<const pickle::Tree> tree;
  };
  std::array<Entry, 8> entries_;
  size_t oldest_ = 0;
};

/// Reads the metadata of `file`, a zip archive of torch whose root is one tensor, as torch.save(tensor)
/// writes it.
/// \param through  the same bytes as `file`: metadata is read from it, and the view reads from `file`
/// \error as ReadTorchZip; kCorrupt when the root is no tensor
Result<RebuiltTensor> ReadTorchZipTensor(const FilePtr& file, const RandomAccessFile& through,
                                         const SourceContext& context, PickleCache& pickles);

}  // namespace weightfs
