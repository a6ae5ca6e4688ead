// weightfs export: the view as files, where FUSE is not to be had. DIR appears whole or not at all.
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "cli/commands.h"
#include "cli/export_writer.h"
#include "cli/interrupt.h"
#include "cli/messages.h"
#include "cli/sizes.h"
#include "cli/source.h"
#include "cli/staged_folder.h"
#include "cli/terminal.h"

namespace weightfs::cli {
namespace {

uint64_t TotalBytes(const std::vector<ListedFile>& files) {
  uint64_t total = 0;
  for (const ListedFile& file : files) total += file.size_bytes;
  return total;
}

Status CheckFreeSpace(const std::string& folder, const std::string& shown, uint64_t needed_bytes) {
  struct statvfs space = {};
  if (statvfs(folder.c_str(), &space) != 0) return FailIo(errno, shown);
  const uint64_t free_bytes = CheckedMultiply(space.f_bavail, space.f_frsize).value_or(UINT64_MAX);
  if (free_bytes >= needed_bytes) return {};
  Error error = FailIo(ENOSPC, fmt::format("{}: {} are free there; expected {} for the files of the view",
                                           shown, FormatSize(free_bytes), FormatSize(needed_bytes)))
                    .error();
  error.remedy = "free some space, or mount SOURCE instead: a mount needs none";
  return std::unexpected(std::move(error));
}

/// Fills and commits the folder. Returns without committing when a signal arrived.
Status Export(const OpenedSource& opened, StagedFolder& staged, const CommandLine& line) {
  const uint64_t total_bytes = TotalBytes(ListFiles(opened.tree));
  WEIGHTFS_CHECK(CheckFreeSpace(staged.path(), line.destination, total_bytes));
  const uint32_t threads = line.settings.threads > 0 ? line.settings.threads : DefaultStreamThreads();
  {
    Progress progress("exported", total_bytes);
    WEIGHTFS_CHECK(WriteTree(opened.tree, staged.path(), threads, progress));
  }
  if (InterruptGuard::signal_number() != 0) return {};
  WEIGHTFS_CHECK(staged.Commit());
  if (isatty(STDERR_FILENO) == 1)
    std::fprintf(stderr, "exported %s to %s\n", FormatSize(total_bytes).c_str(), line.destination.c_str());
  return {};
}

}  // namespace

int RunExport(const CommandLine& line) {
  const InterruptGuard interrupts;
  // DIR is looked at first: a wrong one is told before a large source is parsed.
  Result<StagedFolder> staged = StagedFolder::Create(line.destination);
  if (!staged) return ReportError(staged.error(), Stage::kRunning);
  const Result<OpenedSource> opened = OpenSource(line);
  if (!opened) return ReportError(opened.error(), Stage::kOpening);
  PrintNotes(opened->report);
  const Status exported = Export(*opened, *staged, line);
  if (!exported) return ReportError(exported.error(), Stage::kRunning);
  const int signal_number = InterruptGuard::signal_number();
  return signal_number == 0 ? kExitOk : kExitSignalBase + signal_number;
}

}  // namespace weightfs::cli
