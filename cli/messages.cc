#include "cli/messages.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <iterator>

namespace weightfs::cli {

std::string FormatError(const Error& error) {
  std::string text;
  std::string_view rest = error.message;
  while (true) {
    const size_t end = rest.find('\n');
    fmt::format_to(std::back_inserter(text), "weightfs: {}\n", rest.substr(0, end));
    if (end == std::string_view::npos) break;
    rest.remove_prefix(end + 1);
  }
  if (!error.remedy.empty()) fmt::format_to(std::back_inserter(text), "  {}\n", error.remedy);
  return text;
}

ExitStatus ReportError(const Error& error, Stage stage) {
  std::fflush(stdout);
  const std::string text = FormatError(error);
  std::fwrite(text.data(), 1, text.size(), stderr);
  return ExitStatusFor(error.code, stage);
}

void PrintNote(std::string_view line) {
  const std::string text = fmt::format("weightfs: note: {}\n", line);
  std::fwrite(text.data(), 1, text.size(), stderr);
}

std::unexpected<Error> UsageError(std::string message, std::string remedy) {
  return Fail(ErrorCode::kInvalidArgument, std::move(message), std::move(remedy));
}

ExitStatus PrintOutput(std::string_view text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (written && std::fflush(stdout) == 0) return kExitOk;
  return ReportError(FailIo(errno, "standard output").error(), Stage::kRunning);
}

}  // namespace weightfs::cli
