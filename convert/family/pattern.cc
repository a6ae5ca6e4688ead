#include "convert/family/pattern.h"

#include <fmt/format.h>

namespace weightfs::family {

Result<std::shared_ptr<const re2::RE2>> CompilePattern(std::string_view text) {
  constexpr int64_t kMemoryBytesMax = 1 << 20;
  if (text.size() > kPatternBytesMax)
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("a pattern of {} bytes; expected at most {}", text.size(), kPatternBytesMax));
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kMemoryBytesMax);
  auto pattern = std::make_shared<re2::RE2>(re2::StringPiece(text.data(), text.size()), options);
  if (!pattern->ok())
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format("the pattern {} does not compile: {}; expected RE2 syntax", text, pattern->error()));
  return std::shared_ptr<const re2::RE2>(std::move(pattern));
}

}  // namespace weightfs::family
