// weightfs families: the model families that are known.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "cli/commands.h"
#include "cli/messages.h"
#include "cli/terminal.h"
#include "convert/base/json.h"

namespace weightfs::cli {
namespace {

struct Family {
  std::string_view name;
  std::string_view when;
  std::string_view effect;
};
/// This version has no family tables: names stay what they are.
constexpr std::array kFamilies = {
    Family{"identity", "config.json has model_type or _class_name over tensors with Hugging Face's names",
           "names and config.json stay; chosen by --family auto"},
    Family{"none", "everything else, or --family none", "names stay"},
};

}  // namespace

int RunFamilies(const CommandLine& line) {
  const auto wanted = [&](const Family& family) { return line.family.empty() || family.name == line.family; };
  if (std::none_of(kFamilies.begin(), kFamilies.end(), wanted))
    return ReportError(
        UsageError(fmt::format("families: '{}' is not a family of this version; expected identity or none",
                               line.family))
            .error(),
        Stage::kRunning);
  if (line.settings.json) {
    std::string text;
    for (const Family& family : kFamilies)
      if (wanted(family))
        text += fmt::format("{}{{\"name\":{},\"when\":{},\"effect\":{}}}", text.empty() ? "" : ",\n",
                            JsonString(family.name), JsonString(family.when), JsonString(family.effect));
    return PrintOutput("{\"schema\":1,\"families\":[\n" + text + "]}\n");
  }
  std::string text;
  for (const Family& family : kFamilies)
    if (wanted(family))
      text += fmt::format("{:<9} {}\n{:<9} {}\n", family.name, family.when, "", family.effect);
  if (line.family.empty()) text += "No family tables are built in yet: this version renames no tensor.\n";
  return PrintOutput(text);
}

}  // namespace weightfs::cli
