#include "convert/target/hf/weight_names.h"

#include <fmt/format.h>

namespace weightfs {
namespace {

std::string WithVariant(std::string_view stem, std::string_view variant) {
  return variant.empty() ? std::string(stem) : fmt::format("{}.{}", stem, variant);
}

}  // namespace

std::string_view StemOf(std::string_view target) {
  return target == "diffusers" ? kDiffusersStem : kModelStem;
}

std::string WeightFileName(std::string_view stem, std::string_view variant) {
  return WithVariant(stem, variant) + ".safetensors";
}

std::string ShardFileName(std::string_view stem, std::string_view variant, size_t number, size_t count) {
  return fmt::format("{}-{:05}-of-{:05}.safetensors", WithVariant(stem, variant), number, count);
}

std::string IndexFileName(std::string_view stem, std::string_view variant) {
  return fmt::format("{}.safetensors.{}.json", stem, WithVariant("index", variant));
}

}  // namespace weightfs
