#include "convert/source/huggingface/native_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <utility>

#include "convert/base/relative_path.h"
#include "convert/source/utf8.h"

namespace weightfs {
namespace {

constexpr std::string_view kPart = "{part}";
constexpr std::string_view kNumber = "{number}";
constexpr std::string_view kLz4Suffix = ".lz4";
constexpr size_t kDigitsMax = 9;

std::string_view LeadingDigits(std::string_view text) {
  size_t count = 0;
  while (count < text.size() && count <= kDigitsMax && text[count] >= '0' && text[count] <= '9') ++count;
  return text.substr(0, count);
}

uint32_t NumberOf(std::string_view digits) {
  uint32_t number = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return number;
}

std::string_view WithoutLz4(std::string_view name) {
  if (name.ends_with(kLz4Suffix)) name.remove_suffix(kLz4Suffix.size());
  return name;
}

/// `pattern` with its placeholders filled in.
std::string Fill(std::string_view pattern, std::string_view part, std::string_view number) {
  std::string name(pattern);
  for (const auto& [placeholder, digits] : {std::pair{kPart, part}, std::pair{kNumber, number}})
    if (const size_t at = name.find(placeholder); at != name.npos)
      name.replace(at, placeholder.size(), digits);
  return name;
}

/// One file that matches.
struct Match {
  std::string file;
  NativeName name;
};

/// The files of one pattern: by number of the save, by number of the rank.
using Saves = std::map<uint32_t, std::map<uint32_t, Match>>;

/// Sorts the files of `pattern`. A plain file comes before its .lz4 and is taken when both are there.
Result<Saves> FindSaves(std::span<const SourceEntry> entries, std::string_view pattern,
                        std::string_view shown) {
  Saves saves;
  for (const SourceEntry& entry : entries) {
    if (entry.is_directory) continue;
    const std::optional<NativeName> name = MatchNativeName(pattern, WithoutLz4(entry.name));
    if (!name) continue;
    auto& ranks = saves[NumberOf(name->number)];
    const auto [known, is_new] = ranks.try_emplace(NumberOf(name->part), Match{entry.name, *name});
    if (is_new || known->second.file == WithoutLz4(entry.name)) continue;
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: {} and {} have the same number; expected one file for each", shown,
                            known->second.file, entry.name));
  }
  return saves;
}

/// Ranks are counted from 0 without a hole.
Status CheckRanks(const std::map<uint32_t, Match>& ranks, std::string_view pattern, std::string_view shown) {
  if (!pattern.contains(kPart) || ranks.rbegin()->first + 1 == ranks.size()) return {};
  std::vector<std::string> missing;
  uint32_t next = 0;
  for (const auto& [rank, match] : ranks) {
    for (; next < rank && missing.size() <= kListedNamesMax; ++next)
      missing.push_back(
          Fill(pattern, fmt::format("{:0{}}", next, match.name.part.size()), match.name.number));
    next = rank + 1;
  }
  return Fail(ErrorCode::kNotFound,
              fmt::format("{}: {} missing; expected the files of all ranks, {} is there", shown,
                          ListNames(missing), ranks.rbegin()->second.file),
              "copy or download the missing files");
}

Result<const std::map<uint32_t, Match>*> ChooseSave(const Saves& saves, std::string_view shown,
                                                    std::string_view tag) {
  std::vector<std::string> numbers;
  for (const auto& [number, ranks] : saves) numbers.push_back(ranks.begin()->second.name.number);
  if (tag.empty()) {
    if (saves.size() == 1) return &saves.begin()->second;
    return Fail(ErrorCode::kAmbiguous,
                fmt::format("{}: the saves {}; expected one of them", shown, ListNames(numbers)),
                fmt::format("choose one with --tag {}", numbers.back()));
  }
  const std::string_view digits = LeadingDigits(tag);
  const auto chosen =
      digits.size() == tag.size() && digits.size() <= kDigitsMax ? saves.find(NumberOf(digits)) : saves.end();
  if (chosen != saves.end()) return &chosen->second;
  return Fail(ErrorCode::kInvalidArgument, fmt::format("--tag {}: no such save in {}; expected one of {}",
                                                       tag, shown, ListNames(numbers)));
}

}  // namespace

std::optional<NativeName> MatchNativeName(std::string_view pattern, std::string_view name) {
  NativeName found;
  while (!pattern.empty()) {
    const bool is_part = pattern.starts_with(kPart);
    if (!is_part && !pattern.starts_with(kNumber)) {
      if (name.empty() || name[0] != pattern[0]) return std::nullopt;
      pattern.remove_prefix(1);
      name.remove_prefix(1);
      continue;
    }
    const std::string_view digits = LeadingDigits(name);
    if (digits.empty() || digits.size() > kDigitsMax) return std::nullopt;
    (is_part ? found.part : found.number) = digits;
    pattern.remove_prefix(is_part ? kPart.size() : kNumber.size());
    name.remove_prefix(digits.size());
  }
  if (!name.empty()) return std::nullopt;
  return found;
}

bool IsNativeWeightName(std::span<const std::string> patterns, std::string_view name) {
  return std::ranges::any_of(patterns, [&](const std::string& pattern) {
    return MatchNativeName(pattern, WithoutLz4(name)).has_value();
  });
}

std::string NativeNumber(std::span<const std::string> patterns, std::string_view name) {
  for (const std::string& pattern : patterns)
    if (auto found = MatchNativeName(pattern, WithoutLz4(name)); found && !found->number.empty())
      return std::move(found->number);
  return {};
}

Result<std::optional<NativeWeights>> FindNativeWeights(std::span<const SourceEntry> entries,
                                                       std::span<const std::string> patterns,
                                                       std::string_view shown, std::string_view tag) {
  std::optional<NativeWeights> found;
  // Families may share a pattern; each is looked at once.
  for (const std::string& pattern : std::set<std::string>(patterns.begin(), patterns.end())) {
    WEIGHTFS_TRY(const Saves saves, FindSaves(entries, pattern, shown));
    if (saves.empty()) continue;
    const bool has_number = pattern.contains(kNumber);
    WEIGHTFS_TRY(const auto* ranks, ChooseSave(saves, shown, has_number ? tag : ""));
    WEIGHTFS_CHECK(CheckRanks(*ranks, pattern, shown));
    NativeWeights weights;
    weights.are_ranks = pattern.contains(kPart);
    weights.number = ranks->begin()->second.name.number;
    for (const auto& [rank, match] : *ranks) weights.files.push_back(match.file);
    for (const auto& [number, others] : saves)
      if (&others != ranks)
        for (const auto& [rank, match] : others) weights.other_saves.push_back(match.file);
    if (found)
      return Fail(ErrorCode::kAmbiguous,
                  fmt::format("{}: {} and {}, weights of different kinds; expected one of them", shown,
                              found->files.front(), weights.files.front()),
                  fmt::format("mount the file itself: {}", JoinPath(shown, found->files.front())));
    found = std::move(weights);
  }
  return found;
}

}  // namespace weightfs
