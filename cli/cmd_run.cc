// weightfs run: mount, run a command on it, unmount. The status is the command's, or 125 when we failed.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>

#include "cli/child_process.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/messages.h"
#include "cli/mounting.h"
#include "cli/source.h"
#include "fs/session.h"

namespace weightfs::cli {
namespace {

/// An empty folder that is removed at the end.
class TemporaryMountpoint {
 public:
  static Result<TemporaryMountpoint> Create() {
    const char* const parent = std::getenv("TMPDIR");
    TemporaryMountpoint mountpoint;
    mountpoint.path_ =
        fmt::format("{}/weightfs-run.XXXXXX", parent != nullptr && *parent != 0 ? parent : "/tmp");
    if (mkdtemp(mountpoint.path_.data()) == nullptr) {
      const int error = errno;
      return FailIo(error, std::exchange(mountpoint.path_, {}));
    }
    return mountpoint;
  }
  TemporaryMountpoint(TemporaryMountpoint&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TemporaryMountpoint& operator=(TemporaryMountpoint&&) = delete;
  ~TemporaryMountpoint() {
    // rmdir, not more: should the unmount have failed, nothing below may be touched.
    if (!path_.empty()) rmdir(path_.c_str());
  }
  const std::string& path() const { return path_; }

 private:
  TemporaryMountpoint() = default;
  std::string path_;
};

int RunFailed(const Error& error) {
  ReportError(error, Stage::kRunning);
  return kExitRunFailed;
}

Result<int> RunOn(const CommandLine& line, const std::string& mountpoint) {
  std::vector<std::string> words;
  for (const std::string& word : line.run_words) words.push_back(ReplaceBraces(word, mountpoint));
  return RunChild(words, mountpoint);
}

}  // namespace

int RunRun(const CommandLine& line) {
  const InterruptGuard interrupts;
  if (const Status fuse = CheckFuse(); !fuse) return RunFailed(fuse.error());
  Result<OpenedSource> opened = OpenSource(line);
  if (!opened) return RunFailed(opened.error());
  PrintNotes(opened->report);
  const Result<TemporaryMountpoint> place = TemporaryMountpoint::Create();
  if (!place) return RunFailed(place.error());
  if (const int number = InterruptGuard::signal_number(); number != 0) return kExitSignalBase + number;
  Result<MountProcess> process =
      MountProcess::Start(*std::move(opened), MakeMountOptions(line.settings, place->path()),
                          MountProcess::Lifetime::kWithParent);
  if (!process) return RunFailed(process.error());
  const Result<int> status = RunOn(line, process->mountpoint());
  const Status stopped = process->Stop();
  if (!status) return RunFailed(status.error());
  if (!stopped) return RunFailed(stopped.error());
  return *status;
}

}  // namespace weightfs::cli
