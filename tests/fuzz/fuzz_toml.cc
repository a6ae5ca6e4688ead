// Reads arbitrary bytes as TOML. What is accepted can be written as JSON.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "convert/source/toml.h"

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weightfs;
  const Limits limits;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const Result<nlohmann::json> read = ParseToml(text, "input", limits);
  if (!read) {
    Require(read.error().message.starts_with("input: "));
    Require(read.error().code == ErrorCode::kCorrupt || read.error().code == ErrorCode::kLimitExceeded);
    return 0;
  }
  // dump() throws for text that is not UTF-8.
  Require(!read->dump().empty());
  return 0;
}
