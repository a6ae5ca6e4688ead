#include "fs/daemon.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

namespace weightfs {
namespace {

// A report is one line of JSON after a letter that says what it is.
constexpr char kNotice = 'N';
constexpr char kReady = 'R';
constexpr char kFailed = 'F';

std::string ErrorToJson(const Error& error) {
  const nlohmann::json json = {static_cast<int>(error.code), error.error_number, error.message, error.remedy};
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Error ErrorFromJson(std::string_view text) {
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_array() || json.size() != 4) return {.message = "the mount process sent a damaged report"};
  return {.code = static_cast<ErrorCode>(json[0].get<int>()),
          .error_number = json[1].get<int>(),
          .message = json[2].get<std::string>(),
          .remedy = json[3].get<std::string>()};
}

/// Reads up to the next newline; nothing at the end of the stream.
std::optional<std::string> ReadLine(int descriptor) {
  std::string line;
  for (char letter;;) {
    const ssize_t n = read(descriptor, &letter, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return std::nullopt;
    if (letter == '\n') return line;
    line += letter;
  }
}

void PointAtNull(int descriptor, int flags) {
  const int null = open("/dev/null", flags | O_CLOEXEC);
  if (null < 0) return;
  dup2(null, descriptor);
  if (null != descriptor) close(null);
}

}  // namespace

LaunchReporter::~LaunchReporter() {
  if (descriptor_ >= 0) close(descriptor_);
}

void LaunchReporter::Send(char kind, const std::string& payload, bool is_last) {
  std::lock_guard lock(mutex_);
  if (descriptor_ < 0) return;
  const std::string line = kind + payload + "\n";
  for (size_t sent = 0; sent < line.size();) {
    const ssize_t n = write(descriptor_, line.data() + sent, line.size() - sent);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;  // The starter is gone; there is nobody to tell.
    sent += static_cast<size_t>(n);
  }
  if (is_last) close(std::exchange(descriptor_, -1));
}

void LaunchReporter::Notice(const std::string& line) {
  Send(kNotice, nlohmann::json(line).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), false);
}

void LaunchReporter::Ready() { Send(kReady, "", true); }

void LaunchReporter::Failed(const Error& error) { Send(kFailed, ErrorToJson(error), true); }

Status AwaitLaunch(int descriptor, const std::function<void(const std::string&)>& notice) {
  while (std::optional<std::string> line = ReadLine(descriptor)) {
    const std::string_view payload = std::string_view(*line).substr(std::min<size_t>(1, line->size()));
    if (line->starts_with(kReady)) return {};
    if (line->starts_with(kFailed)) return std::unexpected(ErrorFromJson(payload));
    const auto text = nlohmann::json::parse(payload, nullptr, /*allow_exceptions=*/false);
    if (line->starts_with(kNotice) && notice && text.is_string()) notice(text.get<std::string>());
  }
  return Fail(ErrorCode::kInternal, "the mount process ended before the mount answered");
}

void BecomeMountProcess(MountProcess::Lifetime lifetime, pid_t parent) {
  if (lifetime == MountProcess::Lifetime::kDetached) {
    setsid();
    // Otherwise the folder that the user stood in could not be unmounted while we run.
    if (chdir("/") != 0) std::abort();
  } else {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(EXIT_FAILURE);  // It ended before the line above.
  }
  PointAtNull(STDIN_FILENO, O_RDONLY);
}

void DropTerminal() {
  PointAtNull(STDOUT_FILENO, O_WRONLY);
  PointAtNull(STDERR_FILENO, O_WRONLY);
}

}  // namespace weightfs
