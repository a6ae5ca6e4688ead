/// \file
/// `--include` and `--exclude`: which served names are in the view.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/result.h"

namespace re2 {
class RE2;
}

namespace weightfs {

/// Compiled patterns. Immutable; thread-safe. RE2 patterns, unanchored; exclude wins over include.
class NameFilter {
 public:
  /// \error kInvalidArgument  a pattern does not compile: names the option, the pattern and why
  static Result<NameFilter> Compile(const std::vector<std::string>& include,
                                    const std::vector<std::string>& exclude);

  NameFilter(NameFilter&&) noexcept;
  NameFilter& operator=(NameFilter&&) noexcept;
  ~NameFilter();

  /// The rule that drops `name` ("--exclude PATTERN", "no --include matches"), or empty when it stays.
  std::string DroppedBy(std::string_view name) const;
  /// True when every name stays.
  bool empty() const { return include_.empty() && exclude_.empty(); }

 private:
  NameFilter();
  std::vector<std::unique_ptr<re2::RE2>> include_;
  std::vector<std::unique_ptr<re2::RE2>> exclude_;
};

}  // namespace weightfs
