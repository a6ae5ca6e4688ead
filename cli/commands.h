/// \file
/// The commands. Each runs one parsed command line to its end and returns the exit status; what it has to say
/// is on stderr, its result on stdout.
#pragma once

#include "cli/command_line.h"

namespace weightfs::cli {

int RunMount(const CommandLine& line);
int RunUmount(const CommandLine& line);
int RunRun(const CommandLine& line);
int RunInspect(const CommandLine& line);
int RunVerify(const CommandLine& line);
int RunExport(const CommandLine& line);
int RunStatus(const CommandLine& line);
int RunFamilies(const CommandLine& line);
int RunFormats(const CommandLine& line);
int RunDoctor(const CommandLine& line);

}  // namespace weightfs::cli
