#include "convert/target/hf/shard_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <limits>
#include <numeric>
#include <utility>

#include "convert/base/json.h"
#include "convert/target/hf/weight_names.h"

namespace weightfs {
namespace {

constexpr size_t kShardsMax = 99'999;  // five digits in the names

void Add(Shard& shard, std::span<const ServedTensor> tensors, size_t index) {
  shard.tensors.push_back(index);
  shard.size_bytes += tensors[index].view.size_bytes();
}

/// Walks the tensors in order. The open shard is closed when the next tensor does not fit; a tensor above the
/// limit becomes a shard at once and leaves the open one open, so it may come before tensors that precede it.
/// The reference takes all tensors without bytes for views of one storage: they follow the first of them.
std::vector<Shard> Split(std::span<const ServedTensor> tensors, uint64_t max_shard_bytes) {
  std::vector<Shard> shards;
  Shard open;
  std::vector<size_t> empty;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const uint64_t size_bytes = tensors[i].view.size_bytes();
    if (size_bytes == 0) {
      empty.push_back(i);
      if (empty.size() > 1) continue;
    }
    if (size_bytes > max_shard_bytes) {
      Add(shards.emplace_back(), tensors, i);
      continue;
    }
    if (open.size_bytes + size_bytes > max_shard_bytes) shards.push_back(std::exchange(open, {}));
    Add(open, tensors, i);
  }
  if (!open.tensors.empty() || shards.empty()) shards.push_back(std::move(open));
  if (empty.size() < 2) return shards;
  for (Shard& shard : shards)
    if (std::find(shard.tensors.begin(), shard.tensors.end(), empty[0]) != shard.tensors.end())
      shard.tensors.insert(shard.tensors.end(), empty.begin() + 1, empty.end());
  return shards;
}

void AppendUtf16Escape(std::string& out, uint32_t code_unit) {
  fmt::format_to(std::back_inserter(out), "\\u{:04x}", code_unit);
}

/// `utf8` (valid) as Python's json.dumps writes it: printable ASCII alone, everything else as UTF-16 escapes.
std::string PythonJsonString(std::string_view utf8) {
  const std::string escaped = JsonString(utf8);
  std::string out;
  for (size_t i = 0; i < escaped.size();) {
    const auto lead = static_cast<unsigned char>(escaped[i]);
    if (lead < 0x7f) {
      out += escaped[i++];
      continue;
    }
    const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    uint32_t code_point = length == 1 ? lead : lead & (0x7fu >> length);
    for (size_t k = 1; k < length && i + k < escaped.size(); ++k)
      code_point = code_point << 6 | (static_cast<unsigned char>(escaped[i + k]) & 0x3f);
    i += length;
    if (code_point >= 0x10000) {
      AppendUtf16Escape(out, 0xd800 + ((code_point - 0x10000) >> 10));
      AppendUtf16Escape(out, 0xdc00 + ((code_point - 0x10000) & 0x3ff));
    } else {
      AppendUtf16Escape(out, code_point);
    }
  }
  return out;
}

/// The text that transformers and diffusers write: two spaces of indent, keys sorted by code point (which is
/// the order of UTF-8 bytes). diffusers has no `total_parameters`.
std::string IndexJson(std::span<const ServedTensor> tensors, std::span<const Shard> shards,
                      bool has_parameters) {
  std::vector<std::pair<size_t, const Shard*>> entries;
  uint64_t total_size_bytes = 0;
  for (const Shard& shard : shards) {
    total_size_bytes += shard.size_bytes;
    for (const size_t index : shard.tensors) entries.emplace_back(index, &shard);
  }
  std::sort(entries.begin(), entries.end(),
            [&](const auto& a, const auto& b) { return tensors[a.first].name < tensors[b.first].name; });
  std::string json = "{\n  \"metadata\": {\n";
  if (has_parameters)
    json += fmt::format("    \"total_parameters\": {},\n", FindAliases(tensors).distinct_elements);
  json += fmt::format("    \"total_size\": {}\n  }},\n  \"weight_map\": {{", total_size_bytes);
  std::string_view separator = "\n";
  for (const auto& [index, shard] : entries) {
    fmt::format_to(std::back_inserter(json), "{}    {}: {}", separator, PythonJsonString(tensors[index].name),
                   PythonJsonString(shard->file_name));
    separator = ",\n";
  }
  return json + "\n  }\n}\n";
}

}  // namespace

Result<ShardPlan> PlanShards(std::span<const ServedTensor> tensors, std::string_view stem,
                             std::string_view variant, std::optional<uint64_t> max_shard_bytes) {
  ShardPlan plan;
  plan.shards = Split(tensors, max_shard_bytes.value_or(std::numeric_limits<int64_t>::max()));
  if (plan.shards.size() == 1) {
    plan.shards[0].file_name = WeightFileName(stem, variant);
    return plan;
  }
  const size_t count = plan.shards.size();
  if (count > kShardsMax)
    return Fail(ErrorCode::kLimitExceeded,
                fmt::format("--max-shard-size: {} shards; expected at most {}", count, kShardsMax),
                "give a larger --max-shard-size");
  for (size_t i = 0; i < count; ++i) plan.shards[i].file_name = ShardFileName(stem, variant, i + 1, count);
  plan.index_name = IndexFileName(stem, variant);
  plan.index_json = IndexJson(tensors, plan.shards, stem != "diffusion_pytorch_model");
  return plan;
}

}  // namespace weightfs
