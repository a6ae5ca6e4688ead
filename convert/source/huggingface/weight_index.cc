#include "convert/source/huggingface/weight_index.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "convert/base/json.h"

namespace weightfs {
namespace {

constexpr std::string_view kWeightMap = "weight_map";

/// A name that stays in its folder.
bool IsFileName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && !name.contains('/') && !name.contains('\0');
}

/// Keeps the members of `weight_map`, passes over everything else.
class IndexBuilder final : public JsonHandler {
 public:
  IndexBuilder(std::string_view file, const Limits& limits) : file_(file), limits_(limits) {}

  Result<WeightIndex> Take() && {
    if (!has_weight_map_)
      return Fail(ErrorCode::kCorrupt, fmt::format("{}: no weight_map; expected an object with one", file_));
    SortShards();
    return std::move(index_);
  }

  Status Null(ByteRange where) override { return Other("null", where); }
  Status Boolean(bool, ByteRange where) override { return Other("a boolean", where); }
  Status Negative(int64_t, ByteRange where) override { return Other("a number", where); }
  Status Unsigned(uint64_t, ByteRange where) override { return Other("a number", where); }
  Status Float(double, ByteRange where) override { return Other("a number", where); }
  Status BeginArray(ByteRange where) override {
    WEIGHTFS_CHECK(Other("an array", where));
    ++depth_;
    return {};
  }
  Status BeginObject(ByteRange where) override {
    if (depth_ == 1 && at_weight_map_) {
      has_weight_map_ = in_weight_map_ = true;
      at_weight_map_ = false;
    } else if (depth_ > 0) {
      WEIGHTFS_CHECK(Other("an object", where));
    }
    ++depth_;
    return {};
  }
  Status EndObject(ByteRange) override { return End(); }
  Status EndArray(ByteRange) override { return End(); }
  Status Key(std::string& key, ByteRange) override {
    if (depth_ == 1) at_weight_map_ = key == kWeightMap;
    if (!in_weight_map_) return {};
    if (index_.tensors.size() >= limits_.tensors_max)
      return Fail(
          ErrorCode::kLimitExceeded,
          fmt::format("{}: more than {} tensors; expected at most that many", file_, limits_.tensors_max));
    index_.tensors.push_back({.name = std::move(key)});
    return {};
  }
  Status String(std::string& value, ByteRange where) override {
    if (!in_weight_map_) return Other("a string", where);
    if (!IsFileName(value))
      return Fail(
          ErrorCode::kCorrupt,
          fmt::format("{}: byte {}: tensor {} is in {}; expected the name of a file in the same folder",
                      file_, where.begin, JsonString(index_.tensors.back().name), JsonString(value)));
    const auto [shard, is_new] =
        shard_numbers_.try_emplace(std::move(value), static_cast<uint32_t>(index_.shards.size()));
    if (is_new) index_.shards.push_back(shard->first);
    index_.tensors.back().shard = shard->second;
    return {};
  }

 private:
  /// By name, so by number: a weight map that is sorted by tensor begins anywhere.
  void SortShards() {
    std::sort(index_.shards.begin(), index_.shards.end());
    std::vector<uint32_t> places(index_.shards.size());
    for (uint32_t place = 0; place < index_.shards.size(); ++place)
      places[shard_numbers_.at(index_.shards[place])] = place;
    for (IndexedTensor& tensor : index_.tensors) tensor.shard = places[tensor.shard];
  }

  /// A value that is no shard name: an error where one must be.
  Status Other(std::string_view what, ByteRange where) const {
    if (depth_ == 0)
      return Fail(ErrorCode::kCorrupt, fmt::format("{}: the root is {}; expected an object", file_, what));
    if (depth_ == 1 && at_weight_map_)
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: byte {}: weight_map is {}; expected an object", file_, where.begin, what));
    if (in_weight_map_)
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: byte {}: tensor {} is in {}; expected the name of a file", file_,
                              where.begin, JsonString(index_.tensors.back().name), what));
    return {};
  }
  Status End() {
    --depth_;
    if (depth_ == 1) in_weight_map_ = false;
    return {};
  }

  std::string_view file_;
  const Limits& limits_;
  WeightIndex index_;
  std::unordered_map<std::string, uint32_t> shard_numbers_;
  uint32_t depth_ = 0;
  bool at_weight_map_ = false;
  bool in_weight_map_ = false;
  bool has_weight_map_ = false;
};

}  // namespace

Result<WeightIndex> ParseWeightIndex(std::string_view text, std::string_view file, const Limits& limits) {
  IndexBuilder builder(file, limits);
  const JsonOptions options = {
      .bytes_max = limits.index_json_bytes_max, .depth_max = limits.json_depth_max, .allow_nan = true};
  WEIGHTFS_CHECK(ParseJsonEvents(text, file, options, builder));
  return std::move(builder).Take();
}

}  // namespace weightfs
