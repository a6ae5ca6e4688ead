/// \file
/// From argv to one parsed command.
#pragma once

#include <string>
#include <vector>

#include "cli/options.h"
#include "convert/base/result.h"

namespace weightfs::cli {

/// One command, its operands and settings. A value.
struct CommandLine {
  Command command = Command::kMount;
  std::string source;                  ///< mount, run, inspect, verify, export
  std::string destination;             ///< MOUNTPOINT of mount, umount and status; DIR of export
  std::string family;                  ///< `families NAME`
  std::vector<std::string> run_words;  ///< What stands after `--` of run.
  Settings settings;
  bool fake = false;  ///< `mount -f`: everything but the mount.
};

/// What argv asks for: a command, or text to print (help, version).
struct ParsedCommandLine {
  CommandLine line;
  std::string text;  ///< Not empty: print it to stdout and exit with 0.
};

/// Parses `arguments` (argv, program name first). Nothing is opened or looked at.
///
/// Forms: `weightfs COMMAND ...`; `weightfs SOURCE MOUNTPOINT -o WORDS`; and, when the base name of argv[0]
/// is `mount.weightfs` or `mount.fuse.weightfs`, what mount(8) calls: `SOURCE MOUNTPOINT [-sfnv] [-N NS] [-t
/// TYPE] [-o WORDS]`, where -f means to mount nothing.
/// \error kInvalidArgument  with a line for people
Result<ParsedCommandLine> ParseCommandLine(const std::vector<std::string>& arguments);

/// The text of `weightfs --help`, and of `weightfs COMMAND --help`.
std::string ProgramHelp();
std::string CommandHelp(Command command);

}  // namespace weightfs::cli
