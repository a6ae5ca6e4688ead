/// \file
/// `ParseJson`: events into an nlohmann document.
///
/// nlohmann's own builder searches the object for every key it adds to an `ordered_json`, and growing such an
/// object copies its subtrees (its keys are const, so its elements do not move): both are quadratic or worse
/// on hostile texts. Here the members of open containers wait on one stack, and a container is made once, at
/// its full size, when it closes.
#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <new>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "convert/base/json.h"

namespace weightfs {
namespace {

using Json = nlohmann::ordered_json;

struct Member {
  std::string key;  ///< Empty in arrays.
  Json value;
};

/// What one member costs while the document is built: on the stack, in its container, and its allocations.
constexpr uint64_t kMemberBytes = sizeof(Member) + sizeof(Json::object_t::value_type) + 48;

class DocumentBuilder final : public JsonHandler {
 public:
  DocumentBuilder(std::string_view name, const JsonOptions& options, uint64_t bytes_max)
      : name_(name), options_(options), bytes_max_(bytes_max) {}

  Status Null(ByteRange where) override { return Add(Json(nullptr), 0, where); }
  Status Boolean(bool value, ByteRange where) override { return Add(Json(value), 0, where); }
  Status Negative(int64_t value, ByteRange where) override { return Add(Json(value), 0, where); }
  Status Unsigned(uint64_t value, ByteRange where) override { return Add(Json(value), 0, where); }
  Status Float(double value, ByteRange where) override { return Add(Json(value), 0, where); }
  Status String(std::string& value, ByteRange where) override {
    return Add(Json(std::string(value)), value.size(), where);
  }
  Status Key(std::string& key, ByteRange where) override {
    key_ = key;
    return Charge(key.size(), where);
  }
  Status BeginObject(ByteRange where) override { return Begin(where); }
  Status BeginArray(ByteRange where) override { return Begin(where); }
  Status EndObject(ByteRange) override {
    if (options_.duplicate_keys == DuplicateKeys::kLastWins) KeepLastOfEachKey();
    Json container = Json::object();
    auto& object = container.get_ref<Json::object_t&>();
    object.reserve(members_.size() - open_.back().first_member);
    for (size_t i = open_.back().first_member; i < members_.size(); ++i)
      object.emplace_back(std::move(members_[i].key), std::move(members_[i].value));
    return End(std::move(container));
  }
  Status EndArray(ByteRange) override {
    Json container = Json::array();
    auto& array = container.get_ref<Json::array_t&>();
    array.reserve(members_.size() - open_.back().first_member);
    for (size_t i = open_.back().first_member; i < members_.size(); ++i)
      array.push_back(std::move(members_[i].value));
    return End(std::move(container));
  }

  Json TakeDocument() { return std::move(members_.front().value); }

 private:
  struct Open {
    size_t first_member = 0;
    std::string key;  ///< The container's own key.
  };

  Status Charge(uint64_t bytes, ByteRange where) {
    bytes_ += bytes;
    if (bytes_ <= bytes_max_) return {};
    return Fail(ErrorCode::kLimitExceeded,
                fmt::format("{}: offset {}: the JSON document would take more than {} bytes of memory", name_,
                            where.begin, bytes_max_));
  }
  Status Add(Json value, uint64_t bytes, ByteRange where) {
    WEIGHTFS_CHECK(Charge(kMemberBytes + bytes, where));
    members_.push_back({std::move(key_), std::move(value)});
    key_.clear();
    return {};
  }
  Status Begin(ByteRange where) {
    WEIGHTFS_CHECK(Charge(kMemberBytes, where));
    open_.push_back({members_.size(), std::move(key_)});
    key_.clear();
    return {};
  }
  Status End(Json container) {
    members_.resize(open_.back().first_member);
    members_.push_back({std::move(open_.back().key), std::move(container)});
    open_.pop_back();
    return {};
  }
  void KeepLastOfEachKey();

  std::string_view name_;
  const JsonOptions& options_;
  uint64_t bytes_max_;
  uint64_t bytes_ = 0;
  std::string key_;
  std::deque<Member> members_;  ///< A deque: growing it moves nothing and doubles nothing.
  std::vector<Open> open_;
};

/// Python's dict: the last value of a key, at the place where the key first stood.
void DocumentBuilder::KeepLastOfEachKey() {
  const size_t first = open_.back().first_member;
  std::vector<uint32_t> order(members_.size() - first);
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<uint32_t>(i);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    const int compared = members_[first + a].key.compare(members_[first + b].key);
    return compared != 0 ? compared < 0 : a < b;
  });
  std::vector<bool> superseded(order.size(), false);
  bool any = false;
  for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    const Member& place = members_[first + order[begin]];
    for (end = begin + 1; end < order.size() && members_[first + order[end]].key == place.key; ++end)
      superseded[order[end]] = any = true;
    if (end > begin + 1)
      members_[first + order[begin]].value = std::move(members_[first + order[end - 1]].value);
  }
  if (!any) return;
  size_t kept = first;
  for (size_t i = 0; i < superseded.size(); ++i) {
    if (superseded[i]) continue;
    if (kept != first + i) members_[kept] = std::move(members_[first + i]);
    ++kept;
  }
  members_.resize(kept);
}

}  // namespace

Result<nlohmann::ordered_json> ParseJson(std::string_view text, std::string_view name,
                                         const JsonOptions& options) {
  try {
    DocumentBuilder builder(name, options, options.document_bytes_max + 2 * text.size());
    WEIGHTFS_CHECK(ParseJsonEvents(text, name, options, builder));
    return builder.TakeDocument();
  } catch (const std::bad_alloc&) {
    return Fail(ErrorCode::kLimitExceeded, fmt::format("{}: out of memory while parsing JSON", name));
  }
}

}  // namespace weightfs
