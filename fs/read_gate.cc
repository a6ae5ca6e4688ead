#include "fs/read_gate.h"

#include <cassert>
#include <utility>

namespace weightfs {

ReadGate::ReadGate(uint32_t group_count, uint32_t per_group_max, uint32_t extra_max)
    : per_group_max_(per_group_max), extra_max_(extra_max), running_(group_count) {
  assert(per_group_max > 0);
}

bool ReadGate::TryReserveExtra() {
  uint32_t extra = extra_.load();
  do {
    if (extra >= extra_max_) return false;
  } while (!extra_.compare_exchange_weak(extra, extra + 1));
  return true;
}

bool ReadGate::TryAcquire(WaitGroup group) {
  std::atomic<uint32_t>& running = running_[group];
  bool has_extra = false;
  bool admitted = false;
  uint32_t now = running.load();
  while (now < per_group_max_) {
    if (now > 0 && !has_extra && !(has_extra = TryReserveExtra())) {
      now = running.load();
      if (now > 0) break;  // Another read of this group runs, and takes ours along when it ends.
      continue;
    }
    if (running.compare_exchange_weak(now, now + 1)) {
      admitted = true;
      break;
    }
  }
  const bool needs_extra = admitted && now > 0;
  if (has_extra && !needs_extra) extra_.fetch_sub(1);
  return admitted;
}

void ReadGate::Release(WaitGroup group) {
  // What counts is how many of the group still run, not which of them ends first.
  if (running_[group].fetch_sub(1) > 1) extra_.fetch_sub(1);
}

bool ReadGate::Enter(const ReadRequest& read) {
  if (TryAcquire(read.group)) [[likely]]
    return true;
  std::lock_guard lock(mutex_);
  queued_.fetch_add(1);
  if (TryAcquire(read.group)) {
    queued_.fetch_sub(1);
    return true;
  }
  queues_[read.group].push_back(read);
  return false;
}

std::optional<ReadRequest> ReadGate::Leave(WaitGroup group) {
  Release(group);
  if (queued_.load() == 0) [[likely]]
    return std::nullopt;
  std::lock_guard lock(mutex_);
  if (auto next = TakeIfAdmitted(group)) return next;
  for (auto& [other, queue] : queues_)
    if (auto next = TakeIfAdmitted(other)) return next;
  return std::nullopt;
}

std::optional<ReadRequest> ReadGate::TakeIfAdmitted(WaitGroup group) {
  auto queue = queues_.find(group);
  if (queue == queues_.end() || !TryAcquire(group)) return std::nullopt;
  ReadRequest next = queue->second.front();
  queue->second.pop_front();
  if (queue->second.empty()) queues_.erase(queue);
  queued_.fetch_sub(1);
  return next;
}

std::vector<ReadRequest> ReadGate::TakeQueued() {
  std::lock_guard lock(mutex_);
  std::vector<ReadRequest> taken;
  for (auto& [group, queue] : queues_) taken.insert(taken.end(), queue.begin(), queue.end());
  queues_.clear();
  queued_.store(0);
  return taken;
}

}  // namespace weightfs
