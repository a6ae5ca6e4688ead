// Arbitrary bytes as a rules file. What loads is described, detected, applied to a small fixed source, and
// applied backwards to what came out; every view that comes out can be read.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "convert/family/family.h"
#include "convert/view/virtual_file.h"

namespace weightfs {
namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

class FixedMetadata final : public FamilyMetadata {
 public:
  Result<const nlohmann::json*> Values() const override { return &values_; }
  Result<const nlohmann::json*> File(const std::string& name) const override {
    return name == "params.json" ? &values_ : nullptr;
  }
  bool HasFile(const std::string& name) const override { return name == "params.json"; }
  std::string SourceName() const override { return "model-instruct.pt"; }

 private:
  nlohmann::json values_ = nlohmann::json::parse(
      R"({"m": {"n": 4, "heads": 2, "bias": true, "list": [1, 2.5, "x", null], "eps": 1e-5}, "dim": 4, "version": "2"})");
};

TensorView Numbered(Shape shape) {
  uint64_t count = 1;
  for (const uint64_t extent : shape) count *= extent;
  std::string bytes(count * 4, '\0');
  for (uint32_t i = 0; i < count; ++i) {
    const auto value = static_cast<float>(i);
    std::memcpy(bytes.data() + 4 * i, &value, 4);
  }
  return *TensorView::Make(MakeMemoryFile(bytes, "memory"), *Layout::Contiguous(count, 4, 0), DType::kF32,
                           std::move(shape));
}

FamilyInput FixedInput(const FamilyMetadata& metadata) {
  FamilyInput input;
  input.metadata = &metadata;
  input.limits.family_steps_max = 200'000;
  input.limits.family_compared_bytes_max = 4096;
  input.limits.tensors_max = 256;
  input.tensors = {{"module.wte.weight", {Numbered({8, 4})}},
                   {"module.head.weight", {Numbered({8, 4})}},
                   {"module.h.0.qkv", {Numbered({12, 4})}},
                   {"module.h.1.qkv", {Numbered({12, 4})}},
                   {"module.h.0.norm", {Numbered({4}), Numbered({4})}},
                   {"module.h.1.norm", {Numbered({4}), Numbered({4})}},
                   {"module.h.0.up", {Numbered({2, 4}), Numbered({2, 4})}},
                   {"module.mask", {Numbered({1, 1, 2, 2})}}};
  return input;
}

void ReadAll(const TensorView& view) {
  constexpr uint64_t kBytesMax = 1 << 16;
  if (view.size_bytes() > kBytesMax) return;
  const auto file = MakeViewFile({}, {view}, std::make_shared<BlockCache>(uint64_t{1} << 20));
  Require(file.has_value());
  static ReadScratch scratch;
  const auto bytes = (*file)->Read({0, (*file)->size_bytes()}, scratch);
  Require(bytes.has_value() && bytes->size() == view.size_bytes());
}

void Apply(const FamilyTable& table, const FamilyInput& input) {
  Require(!Summarize(table).name.empty());
  Require(!DescribeTable(table).empty());
  const auto result = ApplyFamily(table, input);
  if (!result) {
    Require(!result.error().message.empty() && result.error().code != ErrorCode::kInternal);
    return;
  }
  for (const ProducedTensor& tensor : result->tensors) ReadAll(tensor.view);
  const auto config =
      result->config_json.empty() ? nlohmann::json::object() : nlohmann::json::parse(result->config_json);
  ReverseInput reverse;
  reverse.config = &config;
  reverse.parts = 1 + result->tensors.size() % 2;
  reverse.limits = input.limits;
  for (const ProducedTensor& tensor : result->tensors)
    reverse.tensors.push_back({tensor.name, {tensor.view}});
  const auto back = ReverseFamily(table, reverse);
  if (!back) {
    Require(!back.error().message.empty() && back.error().code != ErrorCode::kInternal);
    return;
  }
  for (const FamilyTensor& tensor : back->tensors)
    for (const TensorView& part : tensor.parts) ReadAll(part);
}

}  // namespace
}  // namespace weightfs

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weightfs;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  FamilyRegistry registry;
  const Status added = registry.AddRules(text, "rules.json");
  if (!added) {
    Require(added.error().code == ErrorCode::kInvalidArgument);
    Require(added.error().message.starts_with("rules.json:"));
    return 0;
  }
  const FixedMetadata metadata;
  const FamilyInput input = FixedInput(metadata);
  const auto choice = DetectFamily(registry, input);
  Require(choice.has_value() || choice.error().code == ErrorCode::kAmbiguous);
  for (const auto& table : registry.tables()) Apply(*table, input);
  return 0;
}
