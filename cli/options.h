/// \file
/// The one table of options: the command line, `-o` words of mount(8), `--help` and the manual page follow
/// it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/bytes.h"
#include "convert/base/result.h"
#include "convert/convert.h"

namespace weightfs::cli {

enum class Command : uint8_t {
  kMount,
  kUmount,
  kRun,
  kInspect,
  kVerify,
  kExport,
  kStatus,
  kFamilies,
  kFormats,
  kDoctor,
};
inline constexpr int kCommandCount = 10;

/// A set of commands, one bit each.
using CommandSet = uint16_t;
constexpr CommandSet Bit(Command command) { return static_cast<CommandSet>(1u << static_cast<int>(command)); }

/// What the options say, with their defaults.
struct Settings {
  OpenOptions open;
  uint32_t threads = 0;              ///< 0: chosen from the machine.
  uint64_t readahead_bytes = 4_MiB;  ///< `--readahead`
  std::string source_io = "auto";    ///< The word of `--source-io`.
  bool direct_io = false;
  bool allow_other = false;
  bool foreground = false;
  bool json = false;
  std::optional<std::string> tensor;   ///< `inspect --tensor NAME`
  std::optional<std::string> against;  ///< `verify --against DIR|MANIFEST`
};

/// One option. Immutable.
struct OptionSpec {
  std::string_view name;        ///< Long name, without dashes.
  std::string_view value_name;  ///< What `--help` calls its value; empty for a flag.
  std::string_view help;        ///< One line.
  CommandSet commands;          ///< Where it applies. It parses everywhere.
  bool repeatable;              ///< May be given more than once.
  /// Checks `value` (empty for a flag) and stores it. The message begins after the option's name.
  Status (*apply)(const std::string& value, Settings& settings);
};

/// All options, in the order in which help shows them.
std::span<const OptionSpec> AllOptions();

/// The option called `name` (without dashes), or nullptr.
const OptionSpec* FindOption(std::string_view name);

/// Applies one option for `command`.
/// \param shown  how the user wrote it, for messages: "--dtype" or "-o dtype"
/// \error kInvalidArgument  it does not apply to `command`, or its value is not one of those expected
Status ApplyOption(const OptionSpec& option, std::string_view shown, const std::string& value,
                   Command command, Settings& settings);

/// The name of `command` on the command line ("mount").
std::string_view CommandName(Command command);
/// The command called `name`, or nothing.
std::optional<Command> FindCommand(std::string_view name);

}  // namespace weightfs::cli
