// weightfs doctor: what this machine lacks for a good mount, and what that costs.
#include <fmt/format.h>

#include <iterator>

#include "cli/commands.h"
#include "cli/machine.h"
#include "cli/messages.h"
#include "convert/base/json.h"

namespace weightfs::cli {
namespace {

std::string CheckText(const std::vector<MachineCheck>& checks) {
  std::string text;
  const auto out = std::back_inserter(text);
  for (const MachineCheck& check : checks) {
    fmt::format_to(out, "{:<8} {:<13} {}\n", check.ok ? "ok" : "missing", check.name, check.finding);
    if (!check.cost.empty()) fmt::format_to(out, "{:<22} costs: {}\n", "", check.cost);
    if (!check.remedy.empty()) fmt::format_to(out, "{:<22} remedy: {}\n", "", check.remedy);
  }
  return text;
}

std::string CheckJson(const std::vector<MachineCheck>& checks) {
  std::string text;
  for (const MachineCheck& check : checks)
    text +=
        fmt::format("{}{{\"name\":{},\"ok\":{},\"required\":{},\"finding\":{},\"cost\":{},\"remedy\":{}}}",
                    text.empty() ? "" : ",\n", JsonString(check.name), check.ok, check.required,
                    JsonString(check.finding), JsonString(check.cost), JsonString(check.remedy));
  return "{\"schema\":1,\"checks\":[\n" + text + "]}\n";
}

}  // namespace

int RunDoctor(const CommandLine& line) {
  const std::vector<MachineCheck> checks = CheckMachine();
  const int printed = PrintOutput(line.settings.json ? CheckJson(checks) : CheckText(checks));
  for (const MachineCheck& check : checks)
    if (check.required && !check.ok) return kExitFailed;
  return printed;
}

}  // namespace weightfs::cli
