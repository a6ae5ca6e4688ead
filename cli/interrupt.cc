#include "cli/interrupt.h"

#include <array>
#include <atomic>
#include <csignal>

namespace weightfs::cli {
namespace {

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP};
std::atomic<int> first_signal{0};
static_assert(std::atomic<int>::is_always_lock_free);
std::array<struct sigaction, kSignals.size()> previous_actions;

void OnSignal(int number) {
  int none = 0;
  first_signal.compare_exchange_strong(none, number, std::memory_order_relaxed);
}

}  // namespace

InterruptGuard::InterruptGuard() {
  first_signal = 0;
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART;
  for (size_t i = 0; i < kSignals.size(); ++i) {
    sigaction(kSignals[i], nullptr, &previous_actions[i]);
    // nohup(1) had SIGHUP ignored: it stays so.
    if (kSignals[i] != SIGHUP || previous_actions[i].sa_handler != SIG_IGN)
      sigaction(kSignals[i], &action, nullptr);
  }
}

InterruptGuard::~InterruptGuard() {
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &previous_actions[i], nullptr);
}

int InterruptGuard::signal_number() { return first_signal.load(std::memory_order_relaxed); }

}  // namespace weightfs::cli
