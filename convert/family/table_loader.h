/// \file
/// From the text of rules files to tables, with everything checked that can be without a source.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/limits.h"
#include "convert/base/result.h"
#include "convert/family/table.h"

namespace weightfs::family {

using TablePtr = std::shared_ptr<const FamilyTable>;

/// The text of one rules file.
struct TableText {
  std::string file;  ///< For messages.
  std::string_view text;
};

/// The tables of `texts`, in order, which may extend one another and those of `known`.
/// \error kInvalidArgument  as FamilyRegistry::AddRules; two tables of one name
Result<std::vector<TablePtr>> LoadTables(std::span<const TableText> texts, std::span<const TablePtr> known,
                                         bool is_user, const Limits& limits = {});

/// Names that nothing defines, options that are not there, sizes that nothing gives, `let`s that use one
/// another in a circle. Tables that are there to be extended are not checked: what extends them may define
/// more.
/// \error kInvalidArgument  one of these
Status CheckTable(const FamilyTable& table);

}  // namespace weightfs::family
