// FamilyRegistry: the tables that are built in, and those of rules files.
#include <algorithm>
#include <utility>

#include "convert/family/builtin_tables.h"
#include "convert/family/family.h"
#include "convert/family/table.h"
#include "convert/family/table_loader.h"

namespace weightfs {
namespace {

void SortByName(std::vector<family::TablePtr>& tables) {
  std::ranges::sort(tables, {}, [](const family::TablePtr& table) { return std::string_view(table->name); });
}

}  // namespace

Result<FamilyRegistry> FamilyRegistry::BuiltIn() {
  auto tables = family::LoadTables(family::BuiltInTables(), {}, false);
  if (!tables) return Fail(ErrorCode::kInternal, tables.error().message, tables.error().remedy);
  FamilyRegistry registry;
  registry.tables_ = *std::move(tables);
  SortByName(registry.tables_);
  return registry;
}

Status FamilyRegistry::AddRules(std::string_view text, const std::string& file) {
  const family::TableText rules{file, text};
  WEIGHTFS_TRY(auto added, family::LoadTables({&rules, 1}, tables_, true));
  for (family::TablePtr& table : added) {
    std::erase_if(tables_, [&](const family::TablePtr& other) { return other->name == table->name; });
    tables_.push_back(std::move(table));
  }
  SortByName(tables_);
  return {};
}

std::shared_ptr<const FamilyTable> FamilyRegistry::Find(std::string_view name) const {
  for (const family::TablePtr& table : tables_)
    if (table->name == name) return table;
  return nullptr;
}

std::vector<std::string> FamilyRegistry::WeightPatterns() const {
  std::vector<std::string> patterns;
  for (const family::TablePtr& table : tables_)
    for (const std::string& pattern : table->weights)
      if (std::ranges::find(patterns, pattern) == patterns.end()) patterns.push_back(pattern);
  return patterns;
}

}  // namespace weightfs
