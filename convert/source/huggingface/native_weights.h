/// \file
/// Weights of a folder under names of their own: rank files, numbered saves, or a name that some program
/// writes.
///
/// Which names these are is data (`weights` of docs/families.md); this folder knows none. Follows
/// docs/formats/huggingface.md, "Folders with names of their own".
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/result.h"
#include "convert/source/source_files.h"

namespace weightfs {

/// The digits that stand for the placeholders of a pattern; empty where the pattern has none.
struct NativeName {
  std::string part;    ///< `{part}`: the number of a rank.
  std::string number;  ///< `{number}`: the number of a save.
};

/// Matches a file name, without `.lz4`, against a pattern such as `consolidated.{part}.pth`. Each placeholder
/// stands for 1 to 9 digits. Thread-safe.
std::optional<NativeName> MatchNativeName(std::string_view pattern, std::string_view name);

/// True when a name of `pattern`, or it with `.lz4`, is `name`.
bool IsNativeWeightName(std::span<const std::string> patterns, std::string_view name);

/// The digits that stand for `{number}` in `name`, with or without `.lz4`; empty when no pattern has them
/// there.
std::string NativeNumber(std::span<const std::string> patterns, std::string_view name);

/// The weights of one folder. Names of files in it.
struct NativeWeights {
  std::vector<std::string> files;  ///< One, or the files of all ranks in their order.
  bool are_ranks = false;          ///< The pattern numbers parts, also when there is only one.
  std::string number;              ///< Digits of the save; empty when saves have none.
  std::vector<std::string> other_saves;
};

/// Looks for files that match one of `patterns`.
/// \param shown  the folder for messages
/// \param tag    `--tag`: the save to take, by number; leading zeros do not count. Empty: there must be one
/// \return nothing when no file matches
/// \error kAmbiguous        several saves and no tag: lists them; or files of several patterns
/// \error kInvalidArgument  no save has the number of `tag`: lists them
/// \error kNotFound         files of ranks are missing (the first are named)
/// \error kCorrupt          two files of one rank
Result<std::optional<NativeWeights>> FindNativeWeights(std::span<const SourceEntry> entries,
                                                       std::span<const std::string> patterns,
                                                       std::string_view shown, std::string_view tag);

}  // namespace weightfs
