#include "fs/status.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "convert/version.h"

namespace weightfs {
namespace {

using Json = nlohmann::ordered_json;

int64_t Seconds(std::chrono::system_clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

uint64_t RunningThreads() {
  std::error_code error;
  auto tasks = std::filesystem::directory_iterator("/proc/self/task", error);
  return error ? 0 : static_cast<uint64_t>(std::distance(begin(tasks), end(tasks)));
}

Json ServedJson(const Counters::Snapshot& counters) {
  auto one = [&](FileClass file_class) {
    const auto index = static_cast<size_t>(file_class);
    return Json{{"reads", counters.reads[index]}, {"bytes", counters.bytes[index]}};
  };
  return {{"weights", one(FileClass::kWeights)},
          {"tensor_arrays", one(FileClass::kTensorArrays)},
          {"other", one(FileClass::kOther)}};
}

/// Count and histogram of each operation; trailing empty buckets are left out.
Json LatencyJson(const Counters::Snapshot& counters) {
  Json all = Json::object();
  for (size_t o = 0; o < kOperationCount; ++o) {
    const auto& buckets = counters.latency[o];
    uint64_t count = 0;
    size_t used = 0;
    for (size_t b = 0; b < buckets.size(); ++b) {
      count += buckets[b];
      if (buckets[b] > 0) used = b + 1;
    }
    all[std::string(OperationName(static_cast<Operation>(o)))] = {
        {"count", count},
        {"below_microseconds_log2", std::vector<uint64_t>(buckets.begin(), buckets.begin() + used)}};
  }
  return all;
}

Json SourcesJson(const OpenedSource& source) {
  Json files = Json::array();
  for (const auto& file : source.source_files) {
    const LocalFileCounters& counters = file->counters();
    files.push_back({{"file", file->name()},
                     {"direct_io_possible", file->direct_io_possible()},
                     {"direct_reads", counters.direct_reads.load(std::memory_order_relaxed)},
                     {"buffered_reads", counters.buffered_reads.load(std::memory_order_relaxed)},
                     {"bytes_read", counters.bytes_read.load(std::memory_order_relaxed)}});
  }
  return files;
}

Json CacheJson(const OpenedSource& source) {
  if (source.cache == nullptr) return nullptr;
  const BlockCache::Stats stats = source.cache->stats();
  return {{"capacity_bytes", source.cache->capacity_bytes()},
          {"bytes", stats.bytes},
          {"hits", stats.hits},
          {"misses", stats.misses},
          {"evictions", stats.evictions}};
}

Json ErrorsJson(const std::vector<ErrorRecord>& errors) {
  Json list = Json::array();
  for (const ErrorRecord& error : errors) {
    list.push_back({{"time", error.time_seconds},
                    {"file", error.file},
                    {"offset", error.offset_bytes},
                    {"errno", error.error_number},
                    {"cause", error.cause}});
  }
  return list;
}

}  // namespace

std::string StatusJson(const StatusInput& input) {
  const auto now = std::chrono::system_clock::now();
  const Json status = {
      {"version", kVersion},
      {"source", input.source->report.source},
      {"mountpoint", input.mountpoint},
      {"pid", getpid()},
      {"started", Seconds(input.started)},
      {"uptime_seconds", std::max<int64_t>(0, Seconds(now) - Seconds(input.started))},
      {"threads",
       {{"running", RunningThreads()},
        {"reads_per_group", input.reads_per_group},
        {"max", input.threads_max}}},
      {"readahead_bytes", input.readahead_bytes == 0 ? Json(nullptr) : Json(input.readahead_bytes)},
      {"direct_io", input.options->direct_io},
      {"source_io", input.options->source_io},
      {"served", ServedJson(input.counters)},
      {"queued_reads", input.counters.queued_reads},
      {"latency", LatencyJson(input.counters)},
      {"cache", CacheJson(*input.source)},
      {"sources", SourcesJson(*input.source)},
      {"error_count", input.counters.errors},
      {"errors", ErrorsJson(input.errors)},
  };
  return status.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

}  // namespace weightfs
