// The program: parse, dispatch, exit.
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/descriptors.h"
#include "cli/messages.h"

namespace weightfs::cli {
namespace {

int Dispatch(const CommandLine& line) {
  switch (line.command) {
    case Command::kMount:
      return RunMount(line);
    case Command::kUmount:
      return RunUmount(line);
    case Command::kRun:
      return RunRun(line);
    case Command::kInspect:
      return RunInspect(line);
    case Command::kVerify:
      return RunVerify(line);
    case Command::kExport:
      return RunExport(line);
    case Command::kStatus:
      return RunStatus(line);
    case Command::kFamilies:
      return RunFamilies(line);
    case Command::kFormats:
      return RunFormats(line);
    case Command::kDoctor:
      return RunDoctor(line);
  }
  return kExitUsage;
}

int Main(const std::vector<std::string>& arguments) {
  const Result<ParsedCommandLine> parsed = ParseCommandLine(arguments);
  if (!parsed) return ReportError(parsed.error(), Stage::kRunning);
  if (!parsed->text.empty()) return PrintOutput(parsed->text);
  RaiseOwnDescriptorLimit();
  return Dispatch(parsed->line);
}

}  // namespace
}  // namespace weightfs::cli

int main(int argc, char** argv) {
  try {
    return weightfs::cli::Main({argv, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "weightfs: %s; this is a bug\n", error.what());
    return weightfs::cli::kExitFailed;
  }
}
