#include "convert/source/torch/values.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "convert/source/torch/tensor_form.h"
#include "convert/source/utf8.h"

namespace weightfs {
namespace {

using nlohmann::json;
using pickle::Kind;
using pickle::Node;
using pickle::NodePtr;

/// Entries that exceed a bound cost work too: all of them together cost this many times the bound.
constexpr uint64_t kWorkFactor = 8;
/// Entries beyond the bounds that are listed by name.
constexpr size_t kBeyondShownMax = 16;
constexpr size_t kPathBytesMax = 200;
constexpr size_t kIntegerBytes = 8;

/// A wide integer: exact while it fits 64 bits, else the nearest double.
json WideInteger(std::string_view little_endian) {
  const bool is_negative = !little_endian.empty() && (static_cast<uint8_t>(little_endian.back()) & 0x80) != 0;
  uint64_t low = 0;
  double value = 0;
  bool fits = !is_negative;
  for (size_t i = little_endian.size(); i-- > 0;) {
    const auto byte = static_cast<uint8_t>(little_endian[i]);
    const uint8_t digit = is_negative ? static_cast<uint8_t>(~byte) : byte;
    value = value * 256 + digit;
    if (i < kIntegerBytes) low |= static_cast<uint64_t>(digit) << (8 * i);
    if (i >= kIntegerBytes && digit != 0) fits = false;
  }
  if (fits) return low;
  return is_negative ? -(value + 1) : value;
}

class ValueReader {
 public:
  ValueReader(const Census& census, const StorageSource& storages, const Limits& limits)
      : census_(census),
        storages_(storages),
        limits_(limits),
        values_left_(limits.metadata_values_max),
        text_bytes_left_(limits.metadata_text_bytes_max),
        work_left_(kWorkFactor * limits.metadata_values_max) {}

  /// The entries of `branch` but `next`, the next branch of the trail, which is at `path` when it is the
  /// root's.
  json ReadLevel(const Node& branch, NodePtr next, const std::string& path) {
    json level = json::object();
    const BranchInfo* info = census_.Find(branch);
    if (info != nullptr && info->all_tensors && !info->module) return level;
    const bool is_module = !branch.IsMapping();
    for (const auto [key, value] : MappingPairs(is_module ? *CallOf(branch).state : branch)) {
      if (value == next || HoldsTensors(*value)) continue;
      // The parts of a module are branches of their own, also where they hold no tensor.
      if (is_module && key->Is(Kind::kString) &&
          (key->text() == "_parameters" || key->text() == "_buffers" || key->text() == "_modules"))
        continue;
      const std::optional<std::string> name = Key(*key);
      if (name) ReadEntry(*name, *value, path, level);
    }
    return level;
  }

  std::vector<LeftOut> TakeLeftOut() && {
    if (beyond_count_ > kBeyondShownMax)
      left_out_.push_back({fmt::format("{} more entries", beyond_count_ - kBeyondShownMax), BeyondReason()});
    return std::move(left_out_);
  }

 private:
  bool HoldsTensors(const Node& node) const {
    const BranchInfo* info = census_.Find(node);
    return info != nullptr ? info->tensors != 0 : IsTensor(node, storages_);
  }

  static std::optional<std::string> Key(const Node& key) {
    std::optional<std::string> text = KeyText(key);
    if (text && !IsUtf8(*text)) return std::nullopt;
    return text;
  }

  std::string BeyondReason() const {
    return fmt::format("metadata beyond the bound of {} values and {} bytes of text",
                       limits_.metadata_values_max, limits_.metadata_text_bytes_max);
  }

  void ReadEntry(const std::string& name, const Node& value, const std::string& path, json& level) {
    const uint64_t values_before = values_left_;
    const uint64_t text_before = text_bytes_left_;
    is_beyond_ = is_too_deep_ = false;
    if (!SpendText(name.size())) is_beyond_ = true;
    std::optional<json> read;
    if (!is_beyond_) read = Read(value, 1);
    if (is_beyond_) {
      values_left_ = values_before;
      text_bytes_left_ = text_before;
      if (beyond_count_++ < kBeyondShownMax) Note(path, name, BeyondReason());
      return;
    }
    if (is_too_deep_)
      Note(path, name,
           fmt::format("metadata nested deeper than {} in it is not read", limits_.metadata_depth_max));
    if (read) level[name] = *std::move(read);
  }

  void Note(const std::string& path, const std::string& name, std::string reason) {
    std::string place = path.empty() ? name : fmt::format("{}.{}", path, name);
    if (place.size() > kPathBytesMax) place = Quoted(place);
    left_out_.push_back({std::move(place), std::move(reason)});
  }

  bool SpendValue() {
    if (values_left_ == 0 || work_left_ == 0) {
      is_beyond_ = true;
      return false;
    }
    --values_left_, --work_left_;
    return true;
  }
  bool SpendText(size_t bytes) {
    if (bytes > text_bytes_left_) {
      is_beyond_ = true;
      return false;
    }
    text_bytes_left_ -= bytes;
    return true;
  }

  /// Nothing when `node` is no plain value or beyond a bound (`is_beyond_`, `is_too_deep_`).
  std::optional<json> Read(const Node& node, uint32_t depth) {
    if (!SpendValue() || HoldsTensors(node)) return std::nullopt;
    switch (node.kind()) {
      case Kind::kNone:
        return json(nullptr);
      case Kind::kBool:
        return json(node.boolean());
      case Kind::kInt:
        return json(node.integer());
      case Kind::kBigInt:
        return SpendText(node.text().size()) ? std::optional(WideInteger(node.text())) : std::nullopt;
      case Kind::kFloat:
        return json(node.real());
      case Kind::kString:
      case Kind::kGlobal:
        return Text(node.text());
      case Kind::kBytes:
      case Kind::kPersistent:
        return std::nullopt;
      default:
        return Container(node, depth);
    }
  }

  std::optional<json> Text(std::string_view text) {
    if (!SpendText(text.size()) || !IsUtf8(text)) return std::nullopt;
    return json(std::string(text));
  }

  std::optional<json> Container(const Node& node, uint32_t depth) {
    if (depth > limits_.metadata_depth_max) {
      is_too_deep_ = true;
      return std::nullopt;
    }
    if (std::ranges::find(on_path_, &node) != on_path_.end()) return std::nullopt;
    on_path_.push_back(&node);
    std::optional<json> read = node.Is(Kind::kObject) && !node.IsMapping() ? Object(node, depth)
                               : node.IsMapping()                          ? Mapping(node, depth)
                                                                           : List(Items(node), depth);
    on_path_.pop_back();
    return read;
  }

  std::optional<json> List(const NodeItems& items, uint32_t depth) {
    json list = json::array();
    for (NodePtr item : items) {
      std::optional<json> value = Read(*item, depth + 1);
      if (is_beyond_) return std::nullopt;
      list.push_back(value ? *std::move(value) : json(nullptr));
    }
    return list;
  }

  std::optional<json> Mapping(const Node& mapping, uint32_t depth) {
    json object = json::object();
    if (!AddPairs(mapping, depth, object)) return std::nullopt;
    return object;
  }

  bool AddPairs(const Node& mapping, uint32_t depth, json& object) {
    for (const auto [key, value] : MappingPairs(mapping)) {
      const std::optional<std::string> name = Key(*key);
      if (name && !SpendText(name->size())) return false;
      std::optional<json> read = Read(*value, depth + 1);
      if (is_beyond_) return false;
      if (name && read) object[*name] = *std::move(read);
    }
    return true;
  }

  /// An object is a mapping of its attributes. One without attributes that was made of one value (an
  /// enumerator, a torch.Size) is that value, one of items is a list.
  std::optional<json> Object(const Node& object, uint32_t depth) {
    const NodeCall call = CallOf(object);
    if (call.state == nullptr) {
      if (!object.items().empty()) return List(object.items(), depth);
      if (call.arguments.size() == 1) return Read(*call.arguments[0], depth + 1);
      return std::nullopt;
    }
    if (call.state->IsMapping()) {
      if (NodePtr wrapped = Wrapped(*call.state)) return Read(*wrapped, depth + 1);
      return Mapping(*call.state, depth);
    }
    // With slots the state is a pair: attributes or None, and the slots.
    json attributes = json::object();
    bool has_attributes = false;
    for (NodePtr part : Items(*call.state)) {
      if (!part->IsMapping()) continue;
      has_attributes = true;
      if (!AddPairs(*part, depth, attributes)) return std::nullopt;
    }
    return has_attributes ? std::optional(std::move(attributes)) : std::nullopt;
  }

  /// What a node of a configuration tree (omegaconf) stands for, or nullptr for other objects.
  static NodePtr Wrapped(const Node& state) {
    if (state.Find("_metadata") == nullptr) return nullptr;
    NodePtr content = state.Find("_content");
    return content != nullptr ? content : state.Find("_val");
  }

  const Census& census_;
  const StorageSource& storages_;
  const Limits& limits_;
  uint64_t values_left_;
  uint64_t text_bytes_left_;
  uint64_t work_left_;
  bool is_beyond_ = false;    ///< The entry at hand exceeds the bounds of values, text or work.
  bool is_too_deep_ = false;  ///< The entry at hand has values beyond the bound of depth.
  std::vector<NodePtr> on_path_;
  size_t beyond_count_ = 0;
  std::vector<LeftOut> left_out_;
};

/// The key under which `branch` holds `next`.
std::optional<std::string> KeyOf(const Node& branch, NodePtr next) {
  BranchCursor cursor(branch);
  while (const std::optional<BranchEntry> entry = cursor.Next())
    if (entry->value == next) return KeyText(*entry->key);
  return std::nullopt;
}

}  // namespace

PickledValues ReadValues(const StateDictChoice& choice, const Census& census, const StorageSource& storages,
                         const Limits& limits) {
  ValueReader reader(census, storages, limits);
  // The outer levels first: what is nearer to the root is worth more.
  std::vector<json> levels;
  std::vector<std::string> keys;
  std::string path;
  for (size_t i = 0; i < choice.trail.size(); ++i) {
    NodePtr next = i + 1 < choice.trail.size() ? choice.trail[i + 1] : nullptr;
    levels.push_back(reader.ReadLevel(*choice.trail[i], next, path));
    if (next == nullptr) break;
    const std::optional<std::string> key = KeyOf(*choice.trail[i], next);
    keys.push_back(key && IsUtf8(*key) ? *key : "");
    path = path.empty() ? keys.back() : fmt::format("{}.{}", path, keys.back());
  }
  json values = std::move(levels.back());
  for (size_t i = keys.size(); i-- > 0;) {
    json outer = std::move(levels[i]);
    if (!values.empty() && !keys[i].empty()) outer[keys[i]] = std::move(values);
    values = std::move(outer);
  }
  PickledValues result;
  if (!values.empty()) result.values = std::make_shared<const json>(std::move(values));
  result.left_out = std::move(reader).TakeLeftOut();
  return result;
}

}  // namespace weightfs
