/// \file
/// Strict, bounded JSON: parsing into a document or into events, and string literals as serde_json writes
/// them.
///
/// Follows docs/formats/safetensors.md, "the header", where a JSON text is a header. A text must be valid
/// UTF-8 and valid JSON (RFC 8259): no comments, no byte order mark, no trailing bytes, no lone surrogates.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "convert/base/bytes.h"
#include "convert/base/result.h"

namespace weightfs {

/// What two equal keys in one object mean, anywhere in the text.
enum class DuplicateKeys : uint8_t {
  kRefuse,    ///< An error: safetensors headers, weight maps.
  kLastWins,  ///< As in Python's json: the last value, at the place of the first. Events report every key.
};

/// What a JSON text may contain and cost.
struct JsonOptions {
  uint64_t bytes_max = 64_MiB;  ///< Size of the text; never more than 2 GiB - 1.
  uint32_t depth_max = 64;      ///< Objects and arrays within one another; `[[]]` is 2.
  DuplicateKeys duplicate_keys = DuplicateKeys::kRefuse;
  /// Accept `NaN`, `Infinity` and `-Infinity`, which Python's json writes, as numbers.
  bool allow_nan = false;
  /// `ParseJson` only: the document may take this much memory and twice the size of the text besides (so
  /// that, with the text itself, parsing keeps to the bound of three times the metadata).
  uint64_t document_bytes_max = 64_MiB;
};

/// Receives the tokens of a text in order. A failure returned from any of these ends the parse and is its
/// result. `where` is the token's range in the text, quotes included.
class JsonHandler {
 public:
  virtual ~JsonHandler() = default;
  virtual Status Null(ByteRange where) = 0;
  virtual Status Boolean(bool value, ByteRange where) = 0;
  /// An integer below zero that fits 64 bits.
  virtual Status Negative(int64_t value, ByteRange where) = 0;
  /// An integer from zero on that fits 64 bits; `-0` too.
  virtual Status Unsigned(uint64_t value, ByteRange where) = 0;
  /// Any other number, integers that do not fit 64 bits included.
  virtual Status Float(double value, ByteRange where) = 0;
  /// `value` may be moved from.
  virtual Status String(std::string& value, ByteRange where) = 0;
  virtual Status BeginObject(ByteRange where) = 0;
  /// `key` may be moved from; the value's events follow.
  virtual Status Key(std::string& key, ByteRange where) = 0;
  virtual Status EndObject(ByteRange where) = 0;
  virtual Status BeginArray(ByteRange where) = 0;
  virtual Status EndArray(ByteRange where) = 0;
};

/// Parses `text` and hands its tokens to `handler`. Takes time n log n in the size of the text and, beside
/// what the handler keeps, 8 bytes per key of the open objects: use it for large headers and indexes, where a
/// document would take several times the size of the text. Duplicate keys are reported at the end of their
/// object.
/// \param name  names the text in messages
/// \error kCorrupt        not JSON, not UTF-8 (the message has the byte offset), or a duplicate key
/// \error kLimitExceeded  larger or deeper than `options` allow
Status ParseJsonEvents(std::string_view text, std::string_view name, const JsonOptions& options,
                       JsonHandler& handler);

/// Parses `text` into a document whose objects keep the order of the text.
/// Looking up a key in an `ordered_json` object takes time linear in its keys: iterate over large ones.
/// \error as ParseJsonEvents; kLimitExceeded also when the document would take too much memory
Result<nlohmann::ordered_json> ParseJson(std::string_view text, std::string_view name,
                                         const JsonOptions& options = {});

/// `utf8` as a JSON string literal, quotes included, escaped as serde_json escapes: `\"`, `\\`, `\b \f \n \r
/// \t`, other control characters below 0x20 as `\u00xx` in lower case; every other byte as it is.
std::string JsonString(std::string_view utf8);

/// Appends `JsonString(utf8)` to `text`.
void AppendJsonString(std::string_view utf8, std::string& text);

}  // namespace weightfs
