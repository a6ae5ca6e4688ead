#include "fs/step_watcher.h"

#include <chrono>
#include <utility>

#include "convert/convert.h"

namespace weightfs {

StepWatcher::StepWatcher(std::shared_ptr<StepFolder> folder, InodeTable& table)
    : folder_(std::move(folder)), table_(table), thread_([this] { Run(); }) {}

StepWatcher::~StepWatcher() {
  {
    std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void StepWatcher::Update() {
  std::unique_lock lock(mutex_);
  const uint64_t mine = ++asked_;
  changed_.notify_all();
  if (is_late_) return;
  const auto is_answered = [&] { return answered_ >= mine || is_late_ || is_ending_; };
  if (!changed_.wait_for(lock, std::chrono::milliseconds(kWaitMilliseconds), is_answered)) is_late_ = true;
}

void StepWatcher::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return is_ending_ || asked_ > answered_; });
    if (is_ending_) return;
    const uint64_t answering = asked_;
    lock.unlock();
    folder_->Refresh();
    const std::shared_ptr<const StepList> steps = folder_->steps();
    for (; added_ < steps->size(); ++added_)
      table_.AddTree((*steps)[added_]->opened->tree, (*steps)[added_]->name);
    lock.lock();
    answered_ = answering;
    is_late_ = false;
    changed_.notify_all();
  }
}

}  // namespace weightfs
