#include "convert/family/reverse_environment.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace weightfs::family {

ReverseEnvironment::ReverseEnvironment(const FamilyTable& table, const ReverseInput& input,
                                       nlohmann::json options, Budget& budget)
    : ScopedEnvironment(table, std::move(options), budget),
      input_(input),
      target_{input.tensors, &no_metadata_, input.options, input.limits},
      indexes_(target_.tensors),
      target_environment_(plain_table_, target_, indexes_, nlohmann::json::object(), budget) {}

Result<std::unique_ptr<ReverseEnvironment>> ReverseEnvironment::Make(const FamilyTable& table,
                                                                     const ReverseInput& input,
                                                                     nlohmann::json options, Budget& budget) {
  std::unique_ptr<ReverseEnvironment> environment(
      new ReverseEnvironment(table, input, std::move(options), budget));
  for (const auto& [key, value] : table.config.items) {
    const auto found = input.config->find(key);
    if (found != input.config->end()) WEIGHTFS_CHECK(environment->Invert(*value, *found, key));
  }
  return environment;
}

/// Recurses as deep as the table is written.
Status ReverseEnvironment::Invert(const ConfigValue& value, const nlohmann::json& config,
                                  const std::string& key) {
  if (const auto* object = std::get_if<ConfigValue::Object>(&value.value)) {
    for (const auto& [member, inner] : object->members)
      if (config.is_object() && config.contains(member))
        WEIGHTFS_CHECK(Invert(*inner, config.at(member), key + "." + member));
    return {};
  }
  const auto* expression = std::get_if<PlacedExpression>(&value.value);
  const std::optional<std::string> name =
      expression != nullptr ? expression->expression.AsPlainName() : std::nullopt;
  if (!name || config.is_null() || table().lets.Find(*name) == nullptr ||
      table().reverse_lets.Find(*name) != nullptr)
    return {};
  const Value given = Value::Of(config);
  const auto [other, is_new] = given_.emplace(*name, Given{given, key});
  if (is_new || other->second.value.Describe() == given.Describe()) return {};
  return Fail(ErrorCode::kCorrupt,
              fmt::format("config.json: {} is {} and {} is {}; expected one value of {}", other->second.key,
                          other->second.value.Describe(), key, given.Describe(), *name));
}

const PlacedExpression* ReverseEnvironment::FindLet(std::string_view name) const {
  if (const PlacedExpression* let = table().reverse_lets.Find(name)) return let;
  return given_.contains(name) ? nullptr : table().lets.Find(name);
}

Result<std::optional<Value>> ReverseEnvironment::Root(std::string_view name) {
  if (const auto given = given_.find(name); given != given_.end()) return given->second.value;
  if (name == "c") return Value::Of(*input_.config);
  if (table().metadata.Find(name) != nullptr) return Value();
  return std::nullopt;
}

void ReverseEnvironment::OnLet(const PlacedExpression& let, bool begins) {
  if (begins)
    open_lets_.push_back(&let);
  else
    open_lets_.pop_back();
}

Result<Value> ReverseEnvironment::CallSource(Function function, std::span<const Value> arguments) {
  const bool is_reverse =
      !open_lets_.empty() && std::ranges::any_of(table().reverse_lets.items, [&](const auto& item) {
        return &item.second == open_lets_.back();
      });
  if (is_reverse) return target_environment_.CallSource(function, arguments);
  return Fail(
      ErrorCode::kUnsupported,
      fmt::format("{} looks at the native checkpoint, which is to be made", FunctionName(function)),
      "Define the value in reverse.let of the table, by config values (c) or by the target's tensors.");
}

}  // namespace weightfs::family
