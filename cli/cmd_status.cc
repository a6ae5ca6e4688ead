// weightfs status: counters and latencies of a live mount.
#include <fmt/format.h>

#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/commands.h"
#include "cli/messages.h"
#include "cli/sizes.h"
#include "cli/terminal.h"
#include "convert/base/json.h"
#include "fs/session.h"

namespace weightfs::cli {
namespace {

using Json = nlohmann::ordered_json;

/// A member that may be absent (a mount by another version).
uint64_t Number(const Json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}
std::string Text(const Json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_string() ? Printable(found->get<std::string>()) : "";
}
const Json& Child(const Json& object, const char* key) {
  static const Json kNothing;
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() ? *found : kNothing;
}

/// Sizes that were given in powers of 1024 are shown so.
std::string Capacity(uint64_t bytes) {
  return bytes > 0 && bytes % 1_MiB == 0 ? fmt::format("{} MiB", bytes / 1_MiB) : FormatSize(bytes);
}

void Add(std::string& text, std::string_view label, std::string_view line) {
  fmt::format_to(std::back_inserter(text), "{:<12}{}\n", label, line);
}

/// The bound under which `share` of the counted reads stayed, from counts below 1, 2, 4, ... microseconds.
std::string Percentile(const Json& latency, double share) {
  const Json& buckets = Child(latency, "below_microseconds_log2");
  const double wanted = share * static_cast<double>(Number(latency, "count"));
  double seen = 0;
  for (size_t i = 0; buckets.is_array() && i < buckets.size(); ++i) {
    seen += buckets[i].is_number_unsigned() ? static_cast<double>(buckets[i].get<uint64_t>()) : 0;
    if (seen >= wanted) return fmt::format("{} us", uint64_t{1} << std::min<size_t>(i, 63));
  }
  return "?";
}

void AddLatency(std::string& text, const Json& latency, std::string_view name) {
  if (Number(latency, "count") == 0) return;
  Add(text, "latency",
      fmt::format("{}: {} calls, half below {}, 99 % below {}", name, FormatCount(Number(latency, "count")),
                  Percentile(latency, 0.5), Percentile(latency, 0.99)));
}

std::string StatusText(const Json& status) {
  std::string text;
  Add(text, "source", Text(status, "source"));
  Add(text, "mountpoint", Text(status, "mountpoint"));
  Add(text, "process",
      fmt::format("{}, weightfs {}, up {}", Number(status, "pid"), Text(status, "version"),
                  FormatDuration(static_cast<double>(Number(status, "uptime_seconds")))));
  const Json& threads = Child(status, "threads");
  Add(text, "threads",
      fmt::format("{} running, at most {}", Number(threads, "running"), Number(threads, "max")));
  const uint64_t readahead = Number(status, "readahead_bytes");
  Add(text, "read-ahead", readahead == 0 ? "as the kernel chose" : Capacity(readahead));
  const Json& served = Child(status, "served");
  for (auto it = served.begin(); it != served.end(); ++it)
    Add(text, "served",
        fmt::format("{}: {} reads, {}", it.key(), FormatCount(Number(*it, "reads")),
                    FormatSize(Number(*it, "bytes"))));
  const Json& latency = Child(status, "latency");
  if (latency.is_object() && latency.contains("count")) {
    AddLatency(text, latency, "all");
  } else {
    for (auto it = latency.begin(); it != latency.end(); ++it) AddLatency(text, *it, it.key());
  }
  const Json& cache = Child(status, "cache");
  Add(text, "cache",
      fmt::format("{} of {}, {} hits, {} misses, {} evictions", FormatSize(Number(cache, "bytes")),
                  Capacity(Number(cache, "capacity_bytes")), FormatCount(Number(cache, "hits")),
                  FormatCount(Number(cache, "misses")), FormatCount(Number(cache, "evictions"))));
  uint64_t direct = 0, buffered = 0, bytes = 0;
  for (const Json& file : Child(status, "sources")) {
    direct += Number(file, "direct_reads");
    buffered += Number(file, "buffered_reads");
    bytes += Number(file, "bytes_read");
  }
  Add(text, "source read",
      fmt::format("{}: {} direct reads, {} buffered reads ({})", FormatSize(bytes), FormatCount(direct),
                  FormatCount(buffered), Text(status, "source_io")));
  Add(text, "errors", FormatCount(Number(status, "error_count")));
  for (const Json& error : Child(status, "errors"))
    Add(text, "",
        fmt::format("{} at {}: {}", Text(error, "file"), Number(error, "offset"), Text(error, "cause")));
  return text;
}

}  // namespace

int RunStatus(const CommandLine& line) {
  const Result<std::string> status = ReadStatus(line.destination);
  if (!status) return ReportError(status.error(), Stage::kRunning);
  if (line.settings.json) return PrintOutput(*status);
  const Result<Json> document = ParseJson(*status, line.destination + "/.weightfs/status.json");
  if (!document) return ReportError(document.error(), Stage::kRunning);
  return PrintOutput(StatusText(*document));
}

}  // namespace weightfs::cli
