// SchemaReader: the values of config.json.
#include <fmt/format.h>

#include <utility>

#include "convert/family/schema_reader.h"

namespace weightfs::family {
namespace {

using Kind = JsonNode::Kind;

}  // namespace

/// Recurses as deep as the document is, which is bounded.
Result<ConfigValuePtr> SchemaReader::ReadConfigValue(const JsonNode& node) const {
  auto config = std::make_shared<ConfigValue>();
  config->place = At(node);
  if (node.Is(Kind::kArray)) {
    ConfigValue::List list;
    for (const JsonNode* item : node.items) {
      WEIGHTFS_TRY(list.items.emplace_back(), ReadConfigValue(*item));
    }
    config->value = std::move(list);
    return config;
  }
  const JsonNode* when = node.Find("when");
  const JsonNode* indices = node.Find("for");
  if (when != nullptr || indices != nullptr) {
    WEIGHTFS_CHECK(when != nullptr ? document_.ExpectKeys(node, {"when", "value", "else"})
                                   : document_.ExpectKeys(node, {"for", "value"}));
    const JsonNode* value = node.Find("value");
    if (value == nullptr) return At(node).Fail("no key value; expected what stands here");
    WEIGHTFS_TRY(ConfigValuePtr inner, ReadConfigValue(*value));
    if (when == nullptr) {
      WEIGHTFS_TRY(std::vector<Indices> groups, ReadIndices(*indices));
      config->value = ConfigValue::For{std::move(groups), std::move(inner)};
      return config;
    }
    WEIGHTFS_TRY(PlacedExpression condition, ReadExpression(*when));
    ConfigValue::When choice{std::move(condition), std::move(inner), nullptr};
    if (const JsonNode* otherwise = node.Find("else")) {
      WEIGHTFS_TRY(choice.otherwise, ReadConfigValue(*otherwise));
    }
    config->value = std::move(choice);
    return config;
  }
  if (node.Is(Kind::kObject)) {
    ConfigValue::Object object;
    for (const JsonNode* item : node.items) {
      WEIGHTFS_TRY(ConfigValuePtr value, ReadConfigValue(*item));
      object.members.emplace_back(item->key, std::move(value));
    }
    config->value = std::move(object);
    return config;
  }
  if (!node.Is(Kind::kString) || !node.text.starts_with('=')) {
    WEIGHTFS_TRY(config->value, Scalar(node));
    return config;
  }
  if (node.text.starts_with("==")) {
    config->value = Value(node.text.substr(1));
    return config;
  }
  JsonNode expression = node;
  expression.text.erase(0, 1);
  WEIGHTFS_TRY(config->value, ReadExpression(expression));
  return config;
}

}  // namespace weightfs::family
