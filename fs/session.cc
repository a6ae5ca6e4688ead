#include "fs/session.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "fs/daemon.h"
#include "fs/fuse_api.h"
#include "fs/mountpoint.h"
#include "fs/operations.h"
#include "fs/read_ahead.h"
#include "fs/server.h"
#include "fs/signals.h"

namespace weightfs {
namespace {

constexpr uint64_t kReadaheadBytesMin = 4_KiB;
constexpr uint64_t kReadaheadBytesMax = 1_GiB;
constexpr uint32_t kThreadsMax = 1024;
constexpr unsigned kCloneDescriptorProcessors = 8;
// Arenas beyond a few only hold memory back: requests hardly allocate.
constexpr int kMallocArenas = 4;

/// What libfuse has to say: part of the error message until the mount stands, syslog from then on.
class LibfuseLog {
 public:
  static LibfuseLog& Instance() {
    static LibfuseLog log;
    return log;
  }
  void Install() {
    fuse_set_log_func([](fuse_log_level, const char* format, va_list arguments) {
      char line[512];
      vsnprintf(line, sizeof line, format, arguments);
      Instance().Take(line);
    });
  }
  /// The lines until now, as one; later ones go to syslog.
  std::string Finish() {
    std::lock_guard lock(mutex_);
    finished_ = true;
    return std::exchange(text_, {});
  }

 private:
  void Take(std::string line) {
    while (line.ends_with('\n')) line.pop_back();
    std::lock_guard lock(mutex_);
    if (finished_) {
      syslog(LOG_WARNING, "%s", line.c_str());
    } else {
      if (!text_.empty()) text_ += "; ";
      text_ += line;
    }
  }

  std::mutex mutex_;
  std::string text_;
  bool finished_ = false;
};

/// The source's name as a mount option: a comma or backslash would end or escape it.
std::string SafeFsName(const std::string& source) {
  std::string name = source.empty() ? "weightfs" : source;
  for (char& letter : name) {
    const auto byte = static_cast<unsigned char>(letter);
    if (letter == ',' || letter == '\\' || byte < 0x20 || byte == 0x7f) letter = '_';
  }
  return name;
}

/// A mounted libfuse session; unmounts when destroyed.
class Session {
 public:
  Session(Server& server, const MountOptions& options, const std::string& source) {
    std::string mount_options =
        "ro,nosuid,nodev,default_permissions,subtype=weightfs,fsname=" + SafeFsName(source);
    if (options.allow_other) mount_options += ",allow_other";
    const char* words[] = {"weightfs", "-o", mount_options.c_str()};
    fuse_args arguments = FUSE_ARGS_INIT(3, const_cast<char**>(words));
    session_ = fuse_session_new(&arguments, &Operations(), sizeof(fuse_lowlevel_ops), &server);
    fuse_opt_free_args(&arguments);
  }
  ~Session() {
    Unmount();
    if (session_ != nullptr) fuse_session_destroy(session_);
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  Status Mount(const std::string& absolute_mountpoint) {
    mounted_ = session_ != nullptr && fuse_session_mount(session_, absolute_mountpoint.c_str()) == 0;
    const std::string said = LibfuseLog::Instance().Finish();
    if (mounted_) return {};
    return Fail(ErrorCode::kIo,
                absolute_mountpoint + ": cannot be mounted" + (said.empty() ? "" : ": " + said),
                "run weightfs doctor to see what this machine lacks");
  }

  /// Serves until the mount ends or `Exit`.
  Status Loop(const ThreadPlan& threads) {
    std::unique_ptr<fuse_loop_config, void (*)(fuse_loop_config*)> config(fuse_loop_cfg_create(),
                                                                          fuse_loop_cfg_destroy);
    fuse_loop_cfg_set_max_threads(config.get(), threads.threads_max);
    fuse_loop_cfg_set_idle_threads(config.get(), threads.idle_max);
    fuse_loop_cfg_set_clone_fd(config.get(),
                               std::thread::hardware_concurrency() >= kCloneDescriptorProcessors);
    const int result = fuse_session_loop_mt(session_, config.get());
    if (result < 0) return FailIo(-result, "/dev/fuse");
    return {};
  }

  void Exit() { fuse_session_exit(session_); }

  void Unmount() {
    if (std::exchange(mounted_, false)) fuse_session_unmount(session_);
  }

 private:
  fuse_session* session_ = nullptr;
  bool mounted_ = false;
};

Status CheckOptions(const MountOptions& options) {
  if (options.readahead_bytes < kReadaheadBytesMin || options.readahead_bytes > kReadaheadBytesMax) {
    return Fail(ErrorCode::kInvalidArgument, "--readahead: " + std::to_string(options.readahead_bytes) +
                                                 " bytes; expected 4 KiB to 1 GiB");
  }
  if (options.threads > kThreadsMax) {
    return Fail(ErrorCode::kInvalidArgument, "--threads: " + std::to_string(options.threads) +
                                                 "; expected at most " + std::to_string(kThreadsMax));
  }
  return {};
}

/// Waits until the mount answers, sets the read-ahead and says ready. Runs beside the loop that answers.
void Announce(Server& server, const MountOptions& options, const std::string& mountpoint,
              const std::function<void()>& on_ready) {
  struct stat attributes;
  if (stat(mountpoint.c_str(), &attributes) != 0) return;  // The loop ended; it says why.
  if (Status set = SetReadAhead(mountpoint, options.readahead_bytes)) {
    server.set_readahead_bytes(options.readahead_bytes);
  } else if (options.notice) {
    options.notice("reads through the page cache are slower than they could be: " + set.error().message +
                   "; " + set.error().remedy);
  }
  on_ready();
}

Status Serve(OpenedSource source, const MountOptions& options, const std::string& mountpoint,
             const std::function<void()>& on_ready) {
  BlockEndingSignals();
  LibfuseLog::Instance().Install();
  const std::string source_name = source.report.source;
  WEIGHTFS_TRY(std::unique_ptr<Server> server, Server::Make(std::move(source), options, mountpoint));
  mallopt(M_ARENA_MAX, kMallocArenas);
  malloc_trim(0);  // Opening the source needed more than serving it does.

  Session session(*server, options, source_name);
  WEIGHTFS_CHECK(session.Mount(mountpoint));
  std::atomic<bool> is_ready = false;
  std::thread announcer([&] {
    Announce(*server, options, mountpoint, [&] {
      is_ready.store(true);
      on_ready();
    });
  });
  Status served;
  std::atomic<bool> is_asked_to_end = false;  // By a signal: no failure, however early.
  {
    const auto end = [&] {
      is_asked_to_end.store(true);
      session.Exit();
    };
    SignalWatcher watcher(end, [&] { (void)UnmountPath(mountpoint, /*lazily=*/true); });
    served = session.Loop(server->threads());
    server->reads().AnswerQueued(EIO);
    session.Unmount();
    announcer.join();
    server->Stop();
  }
  if (served && !is_ready.load() && !is_asked_to_end.load())
    return Fail(ErrorCode::kIo, mountpoint + ": the mount ended before it answered");
  return served;
}

}  // namespace

Status MountAndServe(OpenedSource source, const MountOptions& options,
                     const std::function<void()>& on_ready) {
  WEIGHTFS_CHECK(CheckOptions(options));
  WEIGHTFS_CHECK(CheckMountpoint(options.mountpoint));
  WEIGHTFS_CHECK(CheckFuse());
  WEIGHTFS_TRY(std::string mountpoint, AbsoluteMountpoint(options.mountpoint));
  return Serve(std::move(source), options, mountpoint, on_ready);
}

Result<MountProcess> MountProcess::Start(OpenedSource source, const MountOptions& options,
                                         Lifetime lifetime) {
  MountProcess process;
  WEIGHTFS_CHECK(CheckOptions(options));
  WEIGHTFS_CHECK(CheckMountpoint(options.mountpoint));
  WEIGHTFS_CHECK(CheckFuse());
  WEIGHTFS_TRY(process.mountpoint_, AbsoluteMountpoint(options.mountpoint));

  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return FailIo(errno, "pipe");
  const pid_t parent = getpid();
  process.pid_ = fork();
  if (process.pid_ < 0) {
    const int error_number = errno;
    close(ends[0]);
    close(ends[1]);
    return FailIo(error_number, "fork");
  }
  if (process.pid_ == 0) {
    close(ends[0]);
    LaunchReporter reporter(ends[1]);
    BecomeMountProcess(lifetime, parent);
    MountOptions child_options = options;
    child_options.notice = [&](const std::string& line) { reporter.Notice(line); };
    Status served = Serve(std::move(source), child_options, process.mountpoint_, [&] {
      DropTerminal();
      reporter.Ready();
    });
    if (!served) reporter.Failed(served.error());
    // The caller's cleanup is the parent's business.
    _exit(served ? EXIT_SUCCESS : EXIT_FAILURE);
  }
  close(ends[1]);
  Status launched = AwaitLaunch(ends[0], options.notice);
  close(ends[0]);
  if (launched) return process;
  while (waitpid(process.pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  return std::unexpected(launched.error());
}

Status MountProcess::Stop() {
  kill(pid_, SIGTERM);
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0) {
    if (errno != EINTR) return FailIo(errno, "the mount process");
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS) return {};
  return Fail(ErrorCode::kIo, mountpoint_ + ": the mount process ended with an error");
}

}  // namespace weightfs
