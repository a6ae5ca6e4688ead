// Edits arbitrary bytes as a config.json. The result must be a config.json too, and editing it again must not
// change it.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "convert/target/hf/config_json.h"

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weightfs;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto facts = ReadConfigFacts(text, "input", Limits{});
  const auto edited = SetConfigDtype(text, DType::kBF16, "input", Limits{});
  Require(facts.has_value() == edited.has_value());
  if (!edited) {
    Require(!edited.error().message.empty());
    return 0;
  }
  const auto edited_facts = ReadConfigFacts(*edited, "output", Limits{});
  Require(edited_facts.has_value());
  Require(edited_facts->model_type == facts->model_type);
  Require(edited_facts->class_name == facts->class_name);
  Require(*SetConfigDtype(*edited, DType::kBF16, "output", Limits{}) == *edited);
  return 0;
}
