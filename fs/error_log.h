/// \file
/// Errors of a running mount: the last ones for status.json, all of them (rate-limited) for syslog.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "convert/base/result.h"

namespace weightfs {

/// One failed request.
struct ErrorRecord {
  int64_t time_seconds = 0;   ///< Since the epoch.
  std::string file;           ///< Path in the mount.
  uint64_t offset_bytes = 0;  ///< Where the read began.
  int error_number = 0;       ///< The errno that the reader saw.
  std::string cause;
};

/// Thread-safe. Used by failing requests only.
class ErrorLog {
 public:
  static constexpr size_t kRecordsMax = 64;
  /// At most this many lines go to syslog in each `kSyslogPeriod`; the next one says how many were left out.
  static constexpr uint32_t kSyslogLinesMax = 16;
  static constexpr std::chrono::seconds kSyslogPeriod{10};

  /// \param mountpoint  names the mount in syslog lines
  explicit ErrorLog(std::string mountpoint);

  void Record(std::string file, uint64_t offset_bytes, int error_number, const Error& error);
  /// The last `kRecordsMax` records, oldest first.
  std::vector<ErrorRecord> Last() const;

 private:
  void WriteSyslog(const ErrorRecord& record);  // Needs mutex_.

  const std::string mountpoint_;
  mutable std::mutex mutex_;
  std::deque<ErrorRecord> records_;
  std::chrono::steady_clock::time_point period_start_{};
  uint32_t period_lines_ = 0;
  uint64_t left_out_ = 0;
};

}  // namespace weightfs
