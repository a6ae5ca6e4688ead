#include "convert/step_folder.h"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "convert/convert.h"

namespace weightfs {
namespace {

namespace stdfs = std::filesystem;

constexpr int64_t kLookIntervalNanoseconds = 100'000'000;

int64_t MonotonicNanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

/// The later of the modification and the status change time of `path`, or nothing.
std::optional<int64_t> NewestChangeNanoseconds(const std::string& path) {
  struct stat status{};
  if (stat(path.c_str(), &status) != 0) return std::nullopt;
  const auto nanoseconds = [](const timespec& time) { return time.tv_sec * 1'000'000'000 + time.tv_nsec; };
  return std::max(nanoseconds(status.st_mtim), nanoseconds(status.st_ctim));
}

}  // namespace

bool IsStepName(std::string_view name) {
  for (const std::string_view prefix :
       {std::string_view("step"), std::string_view("step-"), std::string_view("checkpoint-")}) {
    if (!name.starts_with(prefix) || name.size() == prefix.size()) continue;
    const std::string_view digits = name.substr(prefix.size());
    if (std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; })) return true;
  }
  return false;
}

bool IsQuiet(const std::string& folder) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  const int64_t latest_allowed = now.tv_sec * 1'000'000'000 + now.tv_nsec - kStepQuietNanoseconds;
  const auto is_quiet = [&](const std::string& path) {
    const std::optional<int64_t> changed = NewestChangeNanoseconds(path);
    return changed && *changed <= latest_allowed;
  };
  if (!is_quiet(folder)) return false;
  std::error_code error;
  stdfs::recursive_directory_iterator iterator(folder, error);
  for (; !error && iterator != stdfs::recursive_directory_iterator(); iterator.increment(error))
    if (!is_quiet(iterator->path().string())) return false;
  return !error;
}

StepFolder::StepFolder(std::string path, std::set<std::string> known_steps,
                       std::function<Result<OpenedSource>(const std::string& name)> open_step)
    : path_(std::move(path)),
      open_step_(std::move(open_step)),
      known_steps_(std::move(known_steps)),
      steps_(std::make_shared<const StepList>()) {}

StepFolder::~StepFolder() = default;

std::shared_ptr<const StepList> StepFolder::steps() const {
  const std::lock_guard lock(steps_mutex_);
  return steps_;
}

void StepFolder::Refresh() {
  if (MonotonicNanoseconds() < next_look_nanoseconds_.load(std::memory_order_relaxed)) return;
  const std::unique_lock lock(looking_, std::try_to_lock);
  if (!lock.owns_lock()) return;
  Look();
  next_look_nanoseconds_.store(MonotonicNanoseconds() + kLookIntervalNanoseconds, std::memory_order_relaxed);
}

void StepFolder::Look() {
  std::error_code error;
  stdfs::directory_iterator iterator(path_, error);
  std::vector<std::string> names;
  for (; !error && iterator != stdfs::directory_iterator(); iterator.increment(error)) {
    std::string name = iterator->path().filename().string();
    if (IsStepName(name) && !known_steps_.contains(name)) names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  for (std::string& name : names) {
    if (!IsQuiet(path_ + "/" + name)) continue;
    Result<OpenedSource> opened = open_step_(name);
    if (!opened) continue;  // Not whole yet: looked at again.
    known_steps_.insert(name);
    auto found = std::make_shared<StepList>(*steps());
    found->push_back(std::make_shared<const Step>(
        Step{std::move(name), std::make_shared<const OpenedSource>(*std::move(opened))}));
    const std::lock_guard lock(steps_mutex_);
    steps_ = std::move(found);
  }
}

}  // namespace weightfs
