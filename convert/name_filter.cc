#include "convert/name_filter.h"

#include <fmt/format.h>
#include <re2/re2.h>

#include <algorithm>
#include <utility>

namespace weightfs {
namespace {

using Patterns = std::vector<std::unique_ptr<re2::RE2>>;

Status CompileInto(std::string_view option, const std::vector<std::string>& texts, Patterns& patterns) {
  for (const std::string& text : texts) {
    re2::RE2::Options options;
    options.set_log_errors(false);
    auto pattern = std::make_unique<re2::RE2>(text, options);
    if (!pattern->ok())
      return Fail(
          ErrorCode::kInvalidArgument,
          fmt::format("{} {}: not a valid pattern: {}; expected RE2 syntax", option, text, pattern->error()));
    patterns.push_back(std::move(pattern));
  }
  return {};
}

const re2::RE2* FirstMatch(const Patterns& patterns, std::string_view name) {
  const re2::StringPiece piece(name.data(), name.size());
  const auto found = std::find_if(patterns.begin(), patterns.end(), [&](const auto& pattern) {
    return re2::RE2::PartialMatch(piece, *pattern);
  });
  return found == patterns.end() ? nullptr : found->get();
}

}  // namespace

NameFilter::NameFilter() = default;
NameFilter::NameFilter(NameFilter&&) noexcept = default;
NameFilter& NameFilter::operator=(NameFilter&&) noexcept = default;
NameFilter::~NameFilter() = default;

Result<NameFilter> NameFilter::Compile(const std::vector<std::string>& include,
                                       const std::vector<std::string>& exclude) {
  NameFilter filter;
  WEIGHTFS_CHECK(CompileInto("--include", include, filter.include_));
  WEIGHTFS_CHECK(CompileInto("--exclude", exclude, filter.exclude_));
  return filter;
}

std::string NameFilter::DroppedBy(std::string_view name) const {
  if (const re2::RE2* pattern = FirstMatch(exclude_, name)) return "--exclude " + pattern->pattern();
  if (!include_.empty() && FirstMatch(include_, name) == nullptr) return "no --include matches";
  return {};
}

}  // namespace weightfs
