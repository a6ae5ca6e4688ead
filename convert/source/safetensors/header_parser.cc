#include "convert/source/safetensors/header_parser.h"

#include <fmt/format.h>

#include <utility>

#include "convert/base/json.h"

namespace weightfs {
namespace {

constexpr std::string_view kMetadataKey = "__metadata__";
constexpr uint64_t kLengthBytes = 8;

/// The fields of one entry, as bits of a set.
enum Field : uint8_t { kNoField = 0, kDType = 1, kShape = 2, kDataOffsets = 4, kOtherField = 8 };
constexpr uint8_t kAllFields = kDType | kShape | kDataOffsets;

/// Builds entries from JSON tokens. Where it is in the text follows from four members: `objects_` open
/// objects that matter (root, then one entry or the metadata), the field whose value comes, an open array,
/// and how deep a value that is skipped goes.
class HeaderBuilder final : public JsonHandler {
 public:
  HeaderBuilder(std::string_view file, const Limits& limits) : file_(file), limits_(limits) {}

  SafetensorsHeader Take() && { return std::move(header_); }

  Status Null(ByteRange where) override {
    if (Skips()) return {};
    if (objects_ == 1 && in_metadata_) {
      in_metadata_ = false;
      return {};
    }
    return Unexpected("null", where);
  }
  Status Boolean(bool value, ByteRange where) override {
    return Skips() ? Status{} : Unexpected(value ? "true" : "false", where);
  }
  Status Negative(int64_t value, ByteRange where) override {
    return Skips() ? Status{} : Unexpected(fmt::format("{}", value), where);
  }
  Status Float(double value, ByteRange where) override {
    return Skips() ? Status{} : Unexpected(fmt::format("the number {}", value), where);
  }
  Status Unsigned(uint64_t value, ByteRange where) override {
    if (Skips()) return {};
    if (!in_array_) return Unexpected(fmt::format("{}", value), where);
    if (field_ == kShape) return AddExtent(value, where);
    if (offset_count_ == 0) entry().begin = value;
    if (offset_count_ == 1) entry().end = value;
    if (++offset_count_ > 2) return Unexpected("a third offset", where);
    return {};
  }
  Status String(std::string& value, ByteRange where) override {
    if (Skips()) return {};
    if (objects_ == 2 && in_metadata_) {
      header_.metadata.insert_or_assign(std::move(metadata_key_), std::move(value));
      return {};
    }
    if (objects_ != 2 || field_ != kDType || in_array_) return Unexpected("a string", where);
    const auto dtype = DTypeFromSafetensorsName(value);
    if (!dtype) return Unexpected(fmt::format("dtype {}", JsonString(value.substr(0, 64))), where);
    entry().dtype = *dtype;
    return {};
  }
  Status BeginObject(ByteRange where) override {
    if (OpensSkipped()) return {};
    if (objects_ == 2 || in_array_) return Unexpected("an object", where);
    ++objects_;
    if (objects_ < 2 || in_metadata_) return {};
    fields_ = 0;
    return {};
  }
  Status Key(std::string& key, ByteRange where) override {
    if (skipped_depth_ > 0) return {};
    if (objects_ == 1) return BeginEntry(key, where);
    if (in_metadata_) {
      metadata_key_ = std::move(key);
      return {};
    }
    field_ = key == "dtype"          ? kDType
             : key == "shape"        ? kShape
             : key == "data_offsets" ? kDataOffsets
                                     : kOtherField;
    fields_ |= field_;
    return {};
  }
  Status EndObject(ByteRange where) override {
    if (ClosesSkipped()) return {};
    --objects_;
    if (objects_ != 1) return {};
    if (std::exchange(in_metadata_, false)) return {};
    if ((fields_ & kAllFields) == kAllFields) return {};
    const std::string_view missing = (fields_ & kDType) == 0   ? "dtype"
                                     : (fields_ & kShape) == 0 ? "shape"
                                                               : "data_offsets";
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{} has no {}; expected dtype, shape and data_offsets", Place(where), missing));
  }
  Status BeginArray(ByteRange where) override {
    if (OpensSkipped()) return {};
    if (objects_ != 2 || in_metadata_ || in_array_ || (field_ != kShape && field_ != kDataOffsets))
      return Unexpected("an array", where);
    in_array_ = true;
    offset_count_ = 0;
    return {};
  }
  Status EndArray(ByteRange where) override {
    if (ClosesSkipped()) return {};
    in_array_ = false;
    if (field_ == kDataOffsets && offset_count_ != 2)
      return Unexpected(fmt::format("{} offsets", offset_count_), where);
    return {};
  }

 private:
  SafetensorsEntry& entry() { return header_.entries.back(); }

  /// True for every token of a field that the format does not know.
  bool Skips() const { return skipped_depth_ > 0 || SkipsField(); }
  bool SkipsField() const { return objects_ == 2 && !in_metadata_ && field_ == kOtherField; }
  bool OpensSkipped() {
    if (!Skips()) return false;
    ++skipped_depth_;
    return true;
  }
  bool ClosesSkipped() {
    if (skipped_depth_ == 0) return false;
    --skipped_depth_;
    return true;
  }

  Status BeginEntry(std::string& name, ByteRange where) {
    in_metadata_ = name == kMetadataKey;
    if (in_metadata_) return {};
    if (header_.entries.size() >= limits_.tensors_max)
      return Fail(ErrorCode::kLimitExceeded,
                  fmt::format("{}: byte {}: more than {} tensors; expected at most that many", file_,
                              where.begin + kLengthBytes, limits_.tensors_max));
    field_ = kNoField;
    header_.entries.push_back({.name = std::move(name), .shape_begin = header_.extents.size()});
    return {};
  }
  Status AddExtent(uint64_t value, ByteRange where) {
    if (entry().rank >= limits_.tensor_rank_max)
      return Fail(ErrorCode::kLimitExceeded,
                  fmt::format("{} has more than {} dimensions; expected at most that many", Place(where),
                              limits_.tensor_rank_max));
    ++entry().rank;
    header_.extents.push_back(value);
    return {};
  }

  std::string Place(ByteRange where) const {
    if (objects_ == 0 || header_.entries.empty() || in_metadata_)
      return fmt::format("{}: byte {}: {}", file_, where.begin + kLengthBytes,
                         in_metadata_ ? kMetadataKey : std::string_view("the header"));
    return fmt::format("{}: byte {}: tensor {}", file_, where.begin + kLengthBytes,
                       JsonString(header_.entries.back().name));
  }
  std::string_view Expected() const {
    if (objects_ == 0) return "an object";
    if (in_metadata_) return objects_ == 1 ? "an object or null" : "a string";
    if (objects_ == 1) return "an object";
    switch (field_) {
      case kDType:
        return "a dtype name of safetensors";
      case kShape:
        return in_array_ ? "integers from 0 to 2^64 - 1" : "an array of integers";
      default:
        return in_array_ ? "two integers from 0 to 2^64 - 1" : "an array of two integers";
    }
  }
  Status Unexpected(std::string_view what, ByteRange where) const {
    const std::string_view field = objects_ < 2 || in_metadata_ ? ""
                                   : field_ == kDType           ? " in dtype"
                                   : field_ == kShape           ? " in shape"
                                                                : " in data_offsets";
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{} has {}{}; expected {}", Place(where), what, field, Expected()));
  }

  std::string_view file_;
  const Limits& limits_;
  SafetensorsHeader header_;
  std::string metadata_key_;
  uint64_t skipped_depth_ = 0;
  uint32_t objects_ = 0;
  uint32_t offset_count_ = 0;
  uint8_t fields_ = 0;
  Field field_ = kNoField;
  bool in_array_ = false;
  bool in_metadata_ = false;
};

}  // namespace

Result<SafetensorsHeader> ParseSafetensorsHeader(std::string_view text, std::string_view file,
                                                 const Limits& limits) {
  HeaderBuilder builder(file, limits);
  const JsonOptions options = {.bytes_max = limits.emitted_header_bytes_max,
                               .depth_max = limits.json_depth_max};
  WEIGHTFS_CHECK(ParseJsonEvents(text, fmt::format("{}: header", file), options, builder));
  return std::move(builder).Take();
}

}  // namespace weightfs
