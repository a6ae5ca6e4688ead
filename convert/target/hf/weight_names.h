/// \file
/// File names under which loaders look for weights (docs/formats/huggingface.md, "Names").
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace weightfs {

/// "model.safetensors", or with a variant "model.fp16.safetensors".
std::string WeightFileName(std::string_view stem, std::string_view variant);

/// "model-00001-of-00003.safetensors", or with a variant "model.fp16-00001-of-00003.safetensors".
/// \param number  from 1 to `count`
std::string ShardFileName(std::string_view stem, std::string_view variant, size_t number, size_t count);

/// "model.safetensors.index.json", or with a variant "model.safetensors.index.fp16.json".
std::string IndexFileName(std::string_view stem, std::string_view variant);

}  // namespace weightfs
