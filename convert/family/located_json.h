/// \file
/// A JSON document that remembers where each value is written, so that every message about a table says
/// `FILE:LINE: KEY`.
#pragma once

#include <cstdint>
#include <deque>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/result.h"

namespace weightfs::family {

/// Where something is written in a rules file. Cheap to copy.
struct Place {
  std::shared_ptr<const std::string> file;
  uint32_t line = 0;
  std::string key;  ///< `families[1].tensors[3].do`; empty at the root.

  /// `FILE:LINE: KEY`
  std::string Describe() const;
  /// A failure here: `FILE:LINE: KEY: what; expected what`.
  std::unexpected<Error> Fail(std::string_view message, std::string remedy = {}) const;
};

/// One value. Owned by its document.
struct JsonNode {
  enum class Kind : uint8_t { kNull, kBoolean, kInteger, kFloat, kString, kArray, kObject };

  Kind kind = Kind::kNull;
  bool boolean = false;
  uint32_t line = 0;
  int64_t integer = 0;
  double number = 0;
  std::string text;                    ///< Of a string.
  std::string key;                     ///< Of a member of an object.
  size_t index = 0;                    ///< In its array.
  const JsonNode* parent = nullptr;    ///< nullptr: the root.
  std::vector<const JsonNode*> items;  ///< Of an array or object, in order of the text.

  bool Is(Kind other) const { return kind == other; }
  /// The member of this object; nullptr when there is none.
  const JsonNode* Find(std::string_view member) const;
};

/// What `kind` is called in messages: "an object".
std::string_view KindName(JsonNode::Kind kind);

/// Immutable; thread-safe.
class LocatedJson {
 public:
  /// Parses at most `bytes_max` bytes. Equal keys in one object are an error.
  /// \error kInvalidArgument  not such JSON; the message begins `FILE:LINE: `
  static Result<LocatedJson> Parse(std::string_view text, const std::string& file, uint64_t bytes_max);

  const JsonNode& root() const { return nodes_.front(); }
  Place PlaceOf(const JsonNode& node) const;

  /// \error kInvalidArgument  `node` is not of this kind
  Status Expect(const JsonNode& node, JsonNode::Kind kind) const;
  /// `node` is an object whose keys are all among `known`.
  /// \error kInvalidArgument  it is not; the message has the nearest known key
  Status ExpectKeys(const JsonNode& node, std::initializer_list<std::string_view> known) const;

 private:
  friend class LocatedJsonBuilder;
  std::shared_ptr<const std::string> file_;
  std::deque<JsonNode> nodes_;  // a deque: its elements stay where they are
};

/// The word of `known` that is nearest to `word` when one is near enough to be meant, else empty.
std::string_view NearestWord(std::string_view word, const std::vector<std::string_view>& known);

}  // namespace weightfs::family
