/// \file
/// What names and functions mean when a table is applied backwards.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "convert/family/environment.h"

namespace weightfs::family {

/// Named values follow from `reverse.let`, else from entries of the target's config that are plain names,
/// else from their own expressions. Metadata is null. Functions look at the target's tensors, and only in
/// `reverse.let`: the native ones, at which other expressions look, are not there yet. Not thread-safe.
class ReverseEnvironment final : public ScopedEnvironment {
 public:
  /// \error kCorrupt  config entries that give a name two values
  static Result<std::unique_ptr<ReverseEnvironment>> Make(const FamilyTable& table, const ReverseInput& input,
                                                          nlohmann::json options, Budget& budget);

  Result<Value> CallSource(Function function, std::span<const Value> arguments) override;

 protected:
  const PlacedExpression* FindLet(std::string_view name) const override;
  Result<std::optional<Value>> Root(std::string_view name) override;
  void OnLet(const PlacedExpression& let, bool begins) override;

 private:
  /// The target has no metadata that tables know.
  class NoMetadata final : public FamilyMetadata {
   public:
    Result<const nlohmann::json*> Values() const override { return nullptr; }
    Result<const nlohmann::json*> File(const std::string&) const override { return nullptr; }
    bool HasFile(const std::string&) const override { return false; }
    std::string SourceName() const override { return {}; }
  };
  struct Given {
    Value value;
    std::string key;  ///< Of the config.
  };

  ReverseEnvironment(const FamilyTable& table, const ReverseInput& input, nlohmann::json options,
                     Budget& budget);
  Status Invert(const ConfigValue& value, const nlohmann::json& config, const std::string& key);

  const ReverseInput& input_;
  NoMetadata no_metadata_;
  FamilyTable plain_table_;  // without rewrites: the target's names are what they are
  FamilyInput target_;
  SourceIndexes indexes_;
  SourceEnvironment target_environment_;
  std::map<std::string, Given, std::less<>> given_;
  std::vector<const PlacedExpression*> open_lets_;
};

}  // namespace weightfs::family
