/// \file
/// The `-o` option string of mount(8) and fstab(5).
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/options.h"
#include "convert/base/result.h"

namespace weightfs::cli {

/// Splits `words` at commas. A comma that belongs to a value is written `\,`, or the value is put in double
/// quotes
/// (`include="a{1,3}"`), as mount(8) has it. Every other backslash stays. Empty words are skipped.
/// \error kInvalidArgument  a quote that is not closed
Result<std::vector<std::string>> SplitMountWords(std::string_view words);

/// Applies the words of all `-o` strings to `settings`, as options of `mount`. Names are those of the
/// options,
/// `_` for `-` accepted (`allow_other`). Of an option that is not repeatable the last wins, as mount(8)
/// wants: the command line comes after fstab. Words that are for mount(8), the kernel or systemd are skipped:
/// ro rw dev nodev suid nosuid exec noexec user users nouser owner group atime kinds, nofail auto noauto
/// _netdev defaults x-* X-* comment=*.
/// \param sloppy  skip unknown words (`mount -s`)
/// \error kInvalidArgument  unknown word, or a value that does not fit; as ApplyOption
Status ApplyMountWords(const std::vector<std::string>& strings, bool sloppy, Settings& settings);

}  // namespace weightfs::cli
