#include "convert/family/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "convert/family/line_walk.h"

namespace weightfs::family {
namespace {

constexpr size_t kConfigBytesMax = 16_MiB;

/// `utf8` as Python's json writes it: everything beyond ASCII escaped.
void AppendPythonString(std::string_view utf8, std::string& text) {
  text.push_back('"');
  for (size_t i = 0; i < utf8.size(); ++i) {
    const auto c = static_cast<unsigned char>(utf8[i]);
    constexpr std::string_view kEscaped = "\"\\\b\f\n\r\t";
    constexpr std::string_view kLetters = "\"\\bfnrt";
    if (const size_t letter = kEscaped.find(utf8[i]); letter != std::string_view::npos) {
      text.append({'\\', kLetters[letter]});
    } else if (c < 0x20 || c == 0x7f) {
      text += fmt::format("\\u{:04x}", c);
    } else if (c < 0x80) {
      text.push_back(utf8[i]);
    } else {
      // Texts come from strict JSON and from names: well-formed UTF-8. Anything else becomes U+FFFD.
      const size_t size = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
      uint32_t point = size == 4 ? c & 0x07u : size == 3 ? c & 0x0fu : c & 0x1fu;
      if (c < 0xc2 || c > 0xf4 || i + size > utf8.size()) {
        text += "\\ufffd";
        continue;
      }
      for (size_t j = 1; j < size; ++j)
        point = point << 6 | (static_cast<unsigned char>(utf8[i + j]) & 0x3fu);
      i += size - 1;
      if (point >= 0x10000)
        text += fmt::format("\\u{:04x}\\u{:04x}", 0xd7c0 + (point >> 10), 0xdc00 + (point & 0x3ff));
      else
        text += fmt::format("\\u{:04x}", point);
    }
  }
  text.push_back('"');
}

class ConfigWriter {
 public:
  explicit ConfigWriter(ScopedEnvironment& environment) : environment_(environment) {}

  Result<std::string> Write(const NamedList<ConfigValuePtr>& config, std::string_view torch_dtype) {
    bool has_dtype = torch_dtype.empty();
    Container root(*this, '{', 0);
    for (const auto& [key, value] : config.items) {
      has_dtype |= key == "torch_dtype" || key == "dtype";
      WEIGHTFS_CHECK(Member(root, key, *value, 0));
    }
    if (!has_dtype) {
      root.Begin("torch_dtype");
      AppendPythonString(torch_dtype, text_);
    }
    root.End('}');
    text_ += "\n";
    return std::move(text_);
  }

 private:
  /// The punctuation of one object or list.
  class Container {
   public:
    Container(ConfigWriter& writer, char open, size_t level) : text_(writer.text_), level_(level) {
      text_.push_back(open);
    }
    /// Before an item; with its key, in an object.
    void Begin(std::optional<std::string_view> key = {}) {
      text_ += is_empty_ ? "\n" : ",\n";
      is_empty_ = false;
      text_.append(2 * (level_ + 1), ' ');
      if (!key) return;
      AppendPythonString(*key, text_);
      text_ += ": ";
    }
    void End(char close) {
      if (!is_empty_) text_.append("\n").append(2 * level_, ' ');
      text_.push_back(close);
    }

   private:
    std::string& text_;
    size_t level_;
    bool is_empty_ = true;
  };

  /// What stands for `value`: itself, or a branch of a choice; nullptr when there is no value.
  Result<const ConfigValue*> Chosen(const ConfigValue& value) {
    const ConfigValue* at = &value;
    while (const auto* choice = std::get_if<ConfigValue::When>(&at->value)) {
      WEIGHTFS_TRY(const bool holds, choice->condition.EvaluateCondition(environment_));
      at = holds ? choice->value.get() : choice->otherwise.get();
      if (at == nullptr) return nullptr;
    }
    return at;
  }

  Status Member(Container& object, std::string_view key, const ConfigValue& value, size_t level) {
    WEIGHTFS_TRY(const ConfigValue* chosen, Chosen(value));
    if (chosen == nullptr) return {};
    object.Begin(key);
    return WriteValue(*chosen, level + 1);
  }
  Status Item(Container& list, const ConfigValue& value, size_t level) {
    WEIGHTFS_TRY(const ConfigValue* chosen, Chosen(value));
    if (chosen == nullptr) return {};
    list.Begin();
    return WriteValue(*chosen, level + 1);
  }

  /// Recurses as deep as the table is written.
  Status WriteValue(const ConfigValue& value, size_t level) {
    if (text_.size() > kConfigBytesMax)
      return Fail(ErrorCode::kLimitExceeded, fmt::format("{}: the config is larger than {} bytes",
                                                         value.place.Describe(), kConfigBytesMax));
    if (const auto* literal = std::get_if<Value>(&value.value)) return Scalar(*literal, value.place, level);
    if (const auto* expression = std::get_if<PlacedExpression>(&value.value)) {
      WEIGHTFS_TRY(const Value result, expression->Evaluate(environment_));
      return Scalar(result, value.place, level);
    }
    if (const auto* object = std::get_if<ConfigValue::Object>(&value.value)) {
      Container container(*this, '{', level);
      for (const auto& [key, member] : object->members)
        WEIGHTFS_CHECK(Member(container, key, *member, level));
      container.End('}');
      return {};
    }
    Container container(*this, '[', level);
    if (const auto* list = std::get_if<ConfigValue::List>(&value.value)) {
      for (const ConfigValuePtr& item : list->items) WEIGHTFS_CHECK(Item(container, *item, level));
    } else if (const auto* repeated = std::get_if<ConfigValue::For>(&value.value)) {
      WEIGHTFS_CHECK(ForEachCombination(repeated->indices, environment_,
                                        [&] { return Item(container, *repeated->value, level); }));
    }
    container.End(']');
    return {};
  }

  /// A value of an expression: a scalar, a list, a mapping of metadata. `depth` bounds what lists hold.
  Status Scalar(const Value& value, const Place& place, size_t level) {
    constexpr size_t kLevelsMax = 64;
    WEIGHTFS_CHECK(environment_.Charge(1));
    if (level > kLevelsMax || text_.size() > kConfigBytesMax)
      return Fail(ErrorCode::kLimitExceeded,
                  fmt::format("{}: too large, or nested too deep", place.Describe()));
    if (value.is_null())
      text_ += "null";
    else if (value.boolean() != nullptr)
      text_ += *value.boolean() ? "true" : "false";
    else if (value.integer() != nullptr)
      text_ += std::to_string(*value.integer());
    else if (value.text() != nullptr)
      AppendPythonString(*value.text(), text_);
    else if (value.floating() != nullptr) {
      if (!std::isfinite(*value.floating()))
        return Fail(ErrorCode::kCorrupt, fmt::format("{}: {}; expected a number that JSON has",
                                                     place.Describe(), FloatText(*value.floating())));
      text_ += FloatText(*value.floating());
    } else if (const nlohmann::json* mapping = value.mapping()) {
      Container container(*this, '{', level);
      for (const auto& [key, member] : mapping->items()) {
        container.Begin(key);
        WEIGHTFS_CHECK(Scalar(Value::Of(member), place, level + 1));
      }
      container.End('}');
    } else {
      Container container(*this, '[', level);
      for (uint64_t i = 0; i < value.list_size(); ++i) {
        container.Begin();
        WEIGHTFS_CHECK(Scalar(value.ListItem(i), place, level + 1));
      }
      container.End(']');
    }
    return {};
  }

  ScopedEnvironment& environment_;
  std::string text_;
};

}  // namespace

Result<std::string> WriteConfig(const NamedList<ConfigValuePtr>& config, std::string_view torch_dtype,
                                ScopedEnvironment& environment) {
  return ConfigWriter(environment).Write(config, torch_dtype);
}

std::string MostServedDType(const std::vector<ProducedTensor>& tensors, const FamilyOptions& options) {
  std::array<uint64_t, kDTypeCount> elements{};
  const auto served = [&](const ProducedTensor& tensor) {
    const DType dtype = tensor.view.dtype();
    return options.dtype && IsCastable(dtype) ? *options.dtype : dtype;
  };
  for (const ProducedTensor& tensor : tensors)
    if (!TorchName(served(tensor)).empty())
      elements[static_cast<size_t>(served(tensor))] += tensor.view.element_count();
  const uint64_t most = *std::ranges::max_element(elements);
  // Of two that are as many, the one that comes first.
  for (const ProducedTensor& tensor : tensors)
    if (elements[static_cast<size_t>(served(tensor))] == most && !TorchName(served(tensor)).empty())
      return std::string(TorchName(served(tensor)));
  return {};
}

}  // namespace weightfs::family
