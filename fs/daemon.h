/// \file
/// A forked process that reports to the one that started it until it is ready.
#pragma once

#include <functional>
#include <mutex>
#include <string>

#include "convert/base/result.h"
#include "fs/session.h"

namespace weightfs {

/// The writing end, in the serving process. Thread-safe. After `Ready` or `Failed` it is closed and calls do
/// nothing.
class LaunchReporter {
 public:
  explicit LaunchReporter(int descriptor) : descriptor_(descriptor) {}
  ~LaunchReporter();
  LaunchReporter(const LaunchReporter&) = delete;
  LaunchReporter& operator=(const LaunchReporter&) = delete;

  void Notice(const std::string& line);
  void Ready();
  void Failed(const Error& error);

 private:
  void Send(char kind, const std::string& payload, bool is_last);

  std::mutex mutex_;
  int descriptor_;
};

/// Reads reports from `descriptor` until the other side is ready; hands notices to `notice` (may be empty).
/// \error what the other side failed with
/// \error kInternal  it ended without a word
Status AwaitLaunch(int descriptor, const std::function<void(const std::string&)>& notice);

/// Makes this (just forked) process independent as `lifetime` says. Standard input reads nothing from now on;
/// standard output and error stay until `DropTerminal`.
void BecomeMountProcess(MountProcess::Lifetime lifetime, pid_t parent);

/// Standard output and error lead nowhere from now on.
void DropTerminal();

}  // namespace weightfs
