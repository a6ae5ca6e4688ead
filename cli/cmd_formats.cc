// weightfs formats: the formats that are read.
#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/messages.h"
#include "convert/base/json.h"
#include "convert/convert.h"

namespace weightfs::cli {

int RunFormats(const CommandLine& line) {
  std::string text;
  if (line.settings.json) {
    for (const FormatInfo& format : SupportedFormats())
      text += fmt::format("{}{{\"name\":{},\"description\":{},\"documentation\":{}}}",
                          text.empty() ? "" : ",\n", JsonString(format.name), JsonString(format.description),
                          JsonString(format.documentation));
    return PrintOutput("{\"schema\":1,\"formats\":[\n" + text + "]}\n");
  }
  for (const FormatInfo& format : SupportedFormats())
    text +=
        fmt::format("{:<15} {}\n{:<15} docs/{}\n", format.name, format.description, "", format.documentation);
  return PrintOutput(text);
}

}  // namespace weightfs::cli
