// weightfs umount: also clears a mountpoint whose process died.
#include "cli/commands.h"
#include "cli/messages.h"
#include "fs/session.h"

namespace weightfs::cli {

int RunUmount(const CommandLine& line) {
  const Status unmounted = Umount(line.destination);
  return unmounted ? kExitOk : ReportError(unmounted.error(), Stage::kRunning);
}

}  // namespace weightfs::cli
