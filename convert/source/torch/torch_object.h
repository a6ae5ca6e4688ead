/// \file
/// One value that torch.save wrote, with its storages: what the containers of torch have in common.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "convert/base/result.h"
#include "convert/pickle/value.h"
#include "convert/source/checkpoint.h"
#include "convert/source/torch/storage.h"

namespace weightfs {

/// The value of a torch file. Movable. Views rebuilt from it do not need it any more.
struct TorchObject {
  std::string_view format;  ///< "torch-zip", "torch-legacy"; a literal.
  pickle::Tree tree;
  std::unique_ptr<StorageSource> storages;  ///< Of the tensors in `tree`, which it may refer to; never null.
  uint64_t metadata_bytes = 0;              ///< Bytes of pickle and directory that were parsed.
};

/// Reads the state dict in `object`: as the function of that name in state_dict.h, format and sizes filled
/// in.
Result<Checkpoint> ReadStateDict(const TorchObject& object, const SourceContext& context);

}  // namespace weightfs
