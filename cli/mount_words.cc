#include "cli/mount_words.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "cli/messages.h"

namespace weightfs::cli {
namespace {

/// Words that mean something to mount(8), to the kernel or to systemd, and nothing here: a mount is always
/// read-only, nodev and nosuid.
constexpr std::array<std::string_view, 31> kGenericWords = {
    "ro",   "rw",     "dev",      "nodev",      "suid",     "nosuid",     "exec",       "noexec",
    "user", "users",  "nouser",   "nousers",    "owner",    "noowner",    "group",      "nogroup",
    "auto", "noauto", "nofail",   "fail",       "_netdev",  "defaults",   "atime",      "noatime",
    "sync", "async",  "diratime", "nodiratime", "relatime", "norelatime", "strictatime"};

bool IsGeneric(std::string_view word) {
  const std::string_view name = word.substr(0, word.find('='));
  return std::find(kGenericWords.begin(), kGenericWords.end(), name) != kGenericWords.end() ||
         name.starts_with("x-") || name.starts_with("X-") || name == "comment" || name == "user";
}

/// Words that are flags of the mount command, not of a file system table.
bool IsCommandLineOnly(std::string_view name) { return name == "foreground"; }

}  // namespace

Result<std::vector<std::string>> SplitMountWords(std::string_view words) {
  std::vector<std::string> list;
  std::string word;
  bool quoted = false;
  for (size_t i = 0; i < words.size(); ++i) {
    const char c = words[i];
    if (c == '\\' && i + 1 < words.size() && words[i + 1] == ',') {
      word += words[++i];
    } else if (c == '"' && (quoted || word.empty() || word.back() == '=')) {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      if (!word.empty()) list.push_back(std::move(word));
      word.clear();
    } else {
      word += c;
    }
  }
  if (quoted) return UsageError(fmt::format("-o {}: a quote is not closed", words));
  if (!word.empty()) list.push_back(std::move(word));
  return list;
}

Status ApplyMountWords(const std::vector<std::string>& strings, bool sloppy, Settings& settings) {
  for (const std::string& text : strings) {
    WEIGHTFS_TRY(const std::vector<std::string> words, SplitMountWords(text));
    for (const std::string& word : words) {
      if (IsGeneric(word)) continue;
      const size_t equals = word.find('=');
      std::string name = word.substr(0, equals);
      const std::string shown = "-o " + name;
      std::replace(name.begin(), name.end(), '_', '-');
      const OptionSpec* const option = FindOption(name);
      if (option == nullptr || IsCommandLineOnly(name)) {
        if (sloppy) continue;
        return UsageError(
            fmt::format("{}: unknown mount option; expected an option of 'weightfs mount --help' without "
                        "its dashes, such as dtype=bf16",
                        shown));
      }
      const bool has_value = equals != std::string::npos;
      if (option->value_name.empty() && has_value)
        return UsageError(fmt::format("{}: takes no value", shown));
      if (!option->value_name.empty() && !has_value)
        return UsageError(
            fmt::format("{}: the value is missing; expected {}={}", shown, name, option->value_name));
      WEIGHTFS_CHECK(
          ApplyOption(*option, shown, has_value ? word.substr(equals + 1) : "", Command::kMount, settings));
    }
  }
  return {};
}

}  // namespace weightfs::cli
