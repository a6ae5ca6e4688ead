/// \file
/// The exit statuses of the program: the one place that maps what went wrong to a number.
#pragma once

#include "convert/base/result.h"

namespace weightfs::cli {

enum ExitStatus : int {
  kExitOk = 0,
  kExitFailed = 1,  ///< While running: no FUSE, I/O, verify mismatch, not mounted.
  kExitUsage = 2,   ///< Options, patterns, an ambiguous source, mountpoint or DIR missing, not empty or busy.
  kExitSource = 3,  ///< SOURCE is absent, unreadable, unsupported, damaged or incomplete.
  kExitRunFailed = 125,   ///< `run`: weightfs itself failed; other statuses are CMD's.
  kExitSignalBase = 128,  ///< Plus the number of the signal that ended the work.
};

/// Where an error came from: the same error means another thing while a source is being opened.
enum class Stage : unsigned char {
  kOpening,  ///< Opening SOURCE.
  kRunning,  ///< Everything else.
};

/// The status for an error of `code`.
constexpr ExitStatus ExitStatusFor(ErrorCode code, Stage stage) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kAmbiguous:
      return kExitUsage;
    case ErrorCode::kInternal:
      return kExitFailed;
    default:
      return stage == Stage::kOpening ? kExitSource : kExitFailed;
  }
}

}  // namespace weightfs::cli
