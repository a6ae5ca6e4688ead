/// \file
/// A folder of training steps: `stepN/` and `checkpoint-N/` folders that are models each.
///
/// Steps that are whole when the source is opened are part of its tree. Later ones appear while it is served,
/// the one way in which a mount changes (docs/semantics.md 1.1). A step is whole when it opens without an
/// error and nothing in it changed for `kStepQuietNanoseconds`.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/result.h"

namespace weightfs {

struct OpenedSource;

/// How long nothing in a step may have changed, so that one that is being written is not taken.
inline constexpr int64_t kStepQuietNanoseconds = 1'000'000'000;

/// True for `step`, `step-` or `checkpoint-` and decimal digits.
bool IsStepName(std::string_view name);

/// One step that appeared after the source was opened. Immutable.
struct Step {
  std::string name;  ///< Of its folder, a child of the root.
  std::shared_ptr<const OpenedSource> opened;
};
using StepList = std::vector<std::shared_ptr<const Step>>;

/// Finds new steps. Thread-safe. What was found stays, in order of finding.
class StepFolder {
 public:
  /// \param path         the source folder, absolute
  /// \param known_steps  names that are in the tree already
  /// \param open_step    opens the step in the folder of this name
  StepFolder(std::string path, std::set<std::string> known_steps,
             std::function<Result<OpenedSource>(const std::string& name)> open_step);
  ~StepFolder();
  StepFolder(const StepFolder&) = delete;
  StepFolder& operator=(const StepFolder&) = delete;

  /// Looks for new steps that are whole, at most about ten times a second: a call that comes earlier, or
  /// while another thread looks, returns at once. Never fails: a folder that cannot be read has no new steps.
  void Refresh();

  /// The steps found so far; a snapshot that does not change.
  std::shared_ptr<const StepList> steps() const;

 private:
  void Look();

  const std::string path_;
  const std::function<Result<OpenedSource>(const std::string& name)> open_step_;
  std::mutex looking_;                 ///< Held by the thread that looks; others do not wait for it.
  std::set<std::string> known_steps_;  ///< Guarded by looking_.
  std::atomic<int64_t> next_look_nanoseconds_{0};
  mutable std::mutex steps_mutex_;  ///< Taken last, for the moment of copying or replacing steps_.
  std::shared_ptr<const StepList> steps_;
};

/// True when the newest change of `folder` and of all that lies in it is `kStepQuietNanoseconds` old; false
/// too when it cannot be looked at.
bool IsQuiet(const std::string& folder);

}  // namespace weightfs
