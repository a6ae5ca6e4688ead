/// \file
/// What the program says on stderr: `weightfs: FILE: what; expected what`, one line per cause, then the
/// remedy.
#pragma once

#include <string>
#include <string_view>

#include "cli/exit_status.h"
#include "convert/base/result.h"

namespace weightfs::cli {

/// The lines for `error`, each with its newline: "weightfs: " and one cause a line, then the remedy,
/// indented.
std::string FormatError(const Error& error);

/// Writes `FormatError(error)` to stderr and returns the status for it.
ExitStatus ReportError(const Error& error, Stage stage);

/// Writes `weightfs: note: LINE` to stderr: less is served than a user may expect.
void PrintNote(std::string_view line);

/// An error of the command line (`kInvalidArgument`, exit status 2).
std::unexpected<Error> UsageError(std::string message, std::string remedy = {});

/// Writes `text` to stdout, whole, and flushes it.
/// \return kExitOk, or kExitFailed after saying why when it cannot be written
ExitStatus PrintOutput(std::string_view text);

}  // namespace weightfs::cli
