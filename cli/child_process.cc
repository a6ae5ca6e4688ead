#include "cli/child_process.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "cli/descriptors.h"

namespace weightfs::cli {
namespace {

/// While it lives, SIGCHLD and the signals that end a program wait to be taken by `sigwaitinfo`: none is lost
/// between looking at the child and waiting.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigemptyset(&blocked_);
    for (const int number : {SIGCHLD, SIGINT, SIGTERM, SIGHUP}) sigaddset(&blocked_, number);
    sigprocmask(SIG_BLOCK, &blocked_, &before_);
  }
  ~BlockedSignals() { sigprocmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

  const sigset_t& blocked() const { return blocked_; }
  const sigset_t& before() const { return before_; }

 private:
  sigset_t blocked_;
  sigset_t before_;
};

/// Becomes the command, or reports errno through `report_fd` and ends. Between fork and exec. Our handlers
/// end with exec; what was ignored before us stays ignored.
[[noreturn]] void BecomeCommand(char* const* arguments, const sigset_t& mask, int report_fd) {
  RestoreDescriptorLimit();
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  execvp(arguments[0], arguments);
  const int error = errno;
  const ssize_t written = write(report_fd, &error, sizeof error);
  _exit(written == sizeof error ? 127 : 126);
}

/// Waits for `pid` and passes on what is sent to us. A terminal sends its signals (si_code SI_KERNEL) to the
/// command itself, and twice would be once too often.
int WaitForChild(pid_t pid, const sigset_t& signals) {
  int status = 0;
  while (waitpid(pid, &status, WNOHANG) == 0) {
    siginfo_t info = {};
    const int number = sigwaitinfo(&signals, &info);
    if (number > 0 && number != SIGCHLD && info.si_code != SI_KERNEL) kill(pid, number);
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/// What the child wrote before it ended: errno, or 0 when exec succeeded and closed the pipe.
int ReadReport(int fd) {
  int error = 0;
  while (read(fd, &error, sizeof error) < 0 && errno == EINTR) continue;
  return error;
}

}  // namespace

std::string ReplaceBraces(std::string word, const std::string& mountpoint) {
  for (size_t at = word.find("{}"); at != std::string::npos; at = word.find("{}", at + mountpoint.size()))
    word.replace(at, 2, mountpoint);
  return word;
}

Result<int> RunChild(const std::vector<std::string>& words, const std::string& mountpoint) {
  if (setenv("WEIGHTFS_MOUNT", mountpoint.c_str(), 1) != 0) return FailIo(errno, "WEIGHTFS_MOUNT");
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0) return FailIo(errno, "pipe");
  const BlockedSignals signals;
  const pid_t pid = fork();
  if (pid == 0) BecomeCommand(arguments.data(), signals.before(), report[1]);
  const int fork_error = errno;
  close(report[1]);
  const int exec_error = pid < 0 ? 0 : ReadReport(report[0]);
  close(report[0]);
  if (pid < 0) return FailIo(fork_error, "fork");
  const int status = WaitForChild(pid, signals.blocked());
  if (exec_error != 0) return FailIo(exec_error, words[0]);
  return status;
}

}  // namespace weightfs::cli
