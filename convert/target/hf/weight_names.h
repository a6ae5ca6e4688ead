/// \file
/// File names under which loaders look for weights (docs/formats/huggingface.md, "Names").
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace weightfs {

/// What names of weight files begin with, for the loaders of each library.
inline constexpr std::string_view kModelStem = "model", kDiffusersStem = "diffusion_pytorch_model";

/// The stem for a target, "hf" or "diffusers".
std::string_view StemOf(std::string_view target);

/// "model.safetensors", or with a variant "model.fp16.safetensors".
std::string WeightFileName(std::string_view stem, std::string_view variant);

/// "model-00001-of-00003.safetensors", or with a variant "model.fp16-00001-of-00003.safetensors".
/// \param number  from 1 to `count`
std::string ShardFileName(std::string_view stem, std::string_view variant, size_t number, size_t count);

/// "model.safetensors.index.json", or with a variant "model.safetensors.index.fp16.json".
std::string IndexFileName(std::string_view stem, std::string_view variant);

}  // namespace weightfs
