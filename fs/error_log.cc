#include "fs/error_log.h"

#include <syslog.h>

#include <ctime>
#include <utility>

namespace weightfs {

ErrorLog::ErrorLog(std::string mountpoint) : mountpoint_(std::move(mountpoint)) {
  openlog("weightfs", LOG_PID, LOG_DAEMON);
}

void ErrorLog::Record(std::string file, uint64_t offset_bytes, int error_number, const Error& error) {
  ErrorRecord record{.time_seconds = std::time(nullptr),
                     .file = std::move(file),
                     .offset_bytes = offset_bytes,
                     .error_number = error_number,
                     .cause = error.message};
  if (!error.remedy.empty()) record.cause += "; " + error.remedy;
  std::lock_guard lock(mutex_);
  WriteSyslog(record);
  records_.push_back(std::move(record));
  if (records_.size() > kRecordsMax) records_.pop_front();
}

std::vector<ErrorRecord> ErrorLog::Last() const {
  std::lock_guard lock(mutex_);
  return {records_.begin(), records_.end()};
}

void ErrorLog::WriteSyslog(const ErrorRecord& record) {
  const auto now = std::chrono::steady_clock::now();
  if (now - period_start_ >= kSyslogPeriod) {
    if (left_out_ > 0) {
      syslog(LOG_WARNING, "%s: %llu more errors were not written here", mountpoint_.c_str(),
             static_cast<unsigned long long>(left_out_));
    }
    period_start_ = now;
    period_lines_ = 0;
    left_out_ = 0;
  }
  if (period_lines_ >= kSyslogLinesMax) {
    ++left_out_;
    return;
  }
  ++period_lines_;
  syslog(LOG_ERR, "%s/%s: offset %llu: %s (errno %d)", mountpoint_.c_str(), record.file.c_str(),
         static_cast<unsigned long long>(record.offset_bytes), record.cause.c_str(), record.error_number);
}

}  // namespace weightfs
