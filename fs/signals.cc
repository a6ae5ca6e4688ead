#include "fs/signals.h"

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <utility>

namespace weightfs {
namespace {

// Makes a blocking call of one thread return early; has no meaning of its own.
constexpr int kWakeSignal = SIGUSR2;
constexpr timespec kPollInterval = {.tv_sec = 0, .tv_nsec = 5'000'000};

sigset_t EndingSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, number);
  return set;
}

}  // namespace

void BlockEndingSignals() {
  const sigset_t ending = EndingSignals();
  pthread_sigmask(SIG_BLOCK, &ending, nullptr);
  struct sigaction ignore = {};
  ignore.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &ignore, nullptr);
  struct sigaction wake = {};
  wake.sa_handler = [](int) {};  // No SA_RESTART: the call must return.
  sigaction(kWakeSignal, &wake, nullptr);
}

SignalWatcher::SignalWatcher(std::function<void()> stop, std::function<void()> abandon)
    : stop_(std::move(stop)),
      abandon_(std::move(abandon)),
      watched_(pthread_self()),
      thread_([this] { Watch(); }) {}

SignalWatcher::~SignalWatcher() {
  done_.store(true);
  pthread_kill(thread_.native_handle(), SIGTERM);  // Blocked there, so it only ends the wait.
  thread_.join();
}

void SignalWatcher::Watch() {
  const sigset_t ending = EndingSignals();
  while (sigwaitinfo(&ending, nullptr) < 0) {
  }
  if (done_.load()) return;
  stop_();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(kGraceSeconds);
  while (!done_.load()) {
    if (std::chrono::steady_clock::now() > deadline) {
      abandon_();
      _exit(EXIT_SUCCESS);
    }
    pthread_kill(watched_, kWakeSignal);
    nanosleep(&kPollInterval, nullptr);
  }
}

}  // namespace weightfs
