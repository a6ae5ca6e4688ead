/// \file
/// Values of expressions: null, true and false, integers of 64 bits, floats, text, lists, mappings of
/// metadata.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "convert/base/result.h"

namespace weightfs::family {

/// Immutable; cheap to copy but for text. A mapping, and a list of metadata, refers to the document it is in.
class Value {
 public:
  using List = std::vector<Value>;

  Value() = default;
  Value(bool value) : value_(value) {}                           // NOLINT(google-explicit-constructor)
  Value(int64_t value) : value_(value) {}                        // NOLINT(google-explicit-constructor)
  Value(double value) : value_(value) {}                         // NOLINT(google-explicit-constructor)
  Value(std::string value) : value_(std::move(value)) {}         // NOLINT(google-explicit-constructor)
  Value(std::string_view value) : value_(std::string(value)) {}  // NOLINT(google-explicit-constructor)
  Value(const char* value) = delete;
  explicit Value(List list) : value_(std::make_shared<const List>(std::move(list))) {}

  /// A value of a document, which must outlive this. An integer beyond int64 becomes a float.
  static Value Of(const nlohmann::json& json);

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  const bool* boolean() const { return std::get_if<bool>(&value_); }
  const int64_t* integer() const { return std::get_if<int64_t>(&value_); }
  const double* floating() const { return std::get_if<double>(&value_); }
  const std::string* text() const { return std::get_if<std::string>(&value_); }
  /// An integer or a float, as a float.
  std::optional<double> number() const;
  bool is_list() const;
  bool is_mapping() const;

  /// Of a list: how many items, and one of them. `index < list_size()`.
  uint64_t list_size() const;
  Value ListItem(uint64_t index) const;
  /// The value of a mapping's key; null when it is not there, and when this is null.
  /// \return nothing when this is neither
  std::optional<Value> Member(const std::string& key) const;
  /// The mapping; nullptr when this is none.
  const nlohmann::json* mapping() const;

  /// For messages: `null`, `48`, `1e-05`, `'text'`, `[1, 2]`, `a mapping`. Cut when it is long.
  std::string Describe() const;
  /// "an integer", "a list".
  std::string_view KindName() const;

 private:
  using ListPtr = std::shared_ptr<const List>;
  using JsonPtr = const nlohmann::json*;  // an object or an array
  std::variant<std::monostate, bool, int64_t, double, std::string, ListPtr, JsonPtr> value_;
};

/// A float as Python's repr writes it: the shortest digits that read back the same, `1e-05`, `10000.0`,
/// `inf`.
std::string FloatText(double value);

}  // namespace weightfs::family
