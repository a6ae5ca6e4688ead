// weightfs mount: returns when the mount answers, or says why not.
#include <cstdio>

#include "cli/commands.h"
#include "cli/messages.h"
#include "cli/mounting.h"
#include "cli/source.h"
#include "fs/session.h"

namespace weightfs::cli {
namespace {

/// Cheap checks first, so that a wrong mountpoint or a machine without FUSE is told before a source is
/// parsed.
Status CheckPlace(const CommandLine& line) {
  WEIGHTFS_CHECK(CheckMountpoint(line.destination));
  return CheckFuse();
}

}  // namespace

int RunMount(const CommandLine& line) {
  if (const Status place = CheckPlace(line); !place) return ReportError(place.error(), Stage::kRunning);
  Result<OpenedSource> opened = OpenSource(line);
  if (!opened) return ReportError(opened.error(), Stage::kOpening);
  PrintNotes(opened->report);
  if (line.fake) return kExitOk;

  const MountOptions options = MakeMountOptions(line.settings, line.destination);
  if (line.settings.foreground) {
    const Status served = MountAndServe(*std::move(opened), options, [] {});
    return served ? kExitOk : ReportError(served.error(), Stage::kRunning);
  }
  const Result<MountProcess> process =
      MountProcess::Start(*std::move(opened), options, MountProcess::Lifetime::kDetached);
  return process ? kExitOk : ReportError(process.error(), Stage::kRunning);
}

}  // namespace weightfs::cli
