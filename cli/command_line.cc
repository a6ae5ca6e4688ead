#include "cli/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <iterator>
#include <memory>

#include "cli/messages.h"
#include "cli/mount_words.h"
#include "convert/version.h"

namespace weightfs::cli {
namespace {

struct CommandInfo {
  Command command;
  std::string_view operands;  ///< As `--help` shows them.
  std::string_view help;
};
constexpr std::array kCommands = {
    CommandInfo{Command::kMount, "SOURCE MOUNTPOINT", "mount SOURCE; returns when the mount answers"},
    CommandInfo{Command::kUmount, "MOUNTPOINT", "unmount; also clears a mountpoint whose process died"},
    CommandInfo{Command::kRun, "SOURCE", "mount, run CMD with {} replaced by the mountpoint, unmount"},
    CommandInfo{Command::kInspect, "SOURCE", "say what SOURCE is and what a mount would serve"},
    CommandInfo{Command::kVerify, "SOURCE", "read everything; print a digest of each tensor and file"},
    CommandInfo{Command::kExport, "SOURCE DIR", "write what a mount would serve into DIR, absent or empty"},
    CommandInfo{Command::kStatus, "MOUNTPOINT", "counters and latencies of a live mount"},
    CommandInfo{Command::kFamilies, "[NAME]", "the model families that are known"},
    CommandInfo{Command::kFormats, "", "the formats that are read"},
    CommandInfo{Command::kDoctor, "", "what this machine lacks for a good mount, and what that costs"},
};

const CommandInfo& InfoOf(Command command) { return kCommands[static_cast<size_t>(command)]; }

std::string Invocation(Command command) {
  const CommandInfo& info = InfoOf(command);
  std::string text = fmt::format("weightfs {}", CommandName(command));
  if (!info.operands.empty()) fmt::format_to(std::back_inserter(text), " {}", info.operands);
  text += " [options]";
  if (command == Command::kRun) text += " -- CMD ...";
  return text;
}

/// Shows options as `--name VALUE`, without CLI11's remarks on how many values they take: ours take one.
class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_option_opts(const CLI::Option* option) const override {
    const std::string type = option->get_type_name();
    return type.empty() ? "" : " " + type;
  }
};

/// The parser of one command: the shared options, and that command's operands.
class Parser {
 public:
  Parser(Command command, CommandLine& line) : command_(command), line_(line), app_(HelpText(command)) {
    app_.name(Invocation(command));
    app_.formatter(std::make_shared<HelpFormatter>());
    app_.set_help_flag("-h,--help", "print this help");
    AddOperands();
    for (const OptionSpec& option : AllOptions()) AddOption(option);
    if (command == Command::kMount) {
      app_.add_option("-o", mount_words_, "options as mount(8) writes them: dtype=bf16,partial,...")
          ->allow_extra_args(false)
          ->type_name("WORD[=VALUE],...");
    }
  }

  std::string Help() const {
    std::string text = fmt::format("Usage: {}\n{}", Invocation(command_), WithoutUsage(app_.help()));
    text.erase(text.find_last_not_of('\n') + 1);
    return text + "\n";
  }

  /// Parses `words`, without program name and command; `help` is set when help was asked for.
  Status Parse(const std::vector<std::string>& words, bool& help) {
    std::vector<std::string> reversed(words.rbegin(), words.rend());
    try {
      app_.parse(reversed);
    } catch (const CLI::CallForHelp&) {
      help = true;
      return {};
    } catch (const CLI::ExtrasError&) {
      return Unexpected(words);
    } catch (const CLI::RequiredError& error) {
      return UsageError(fmt::format("{}: {} is missing; expected {}", CommandName(command_), MissingOperand(),
                                    Invocation(command_)));
    } catch (const CLI::ParseError& error) {
      return UsageError(fmt::format("{}: {}", CommandName(command_), error.what()), HelpHint());
    }
    WEIGHTFS_CHECK(ApplyMountWords(mount_words_, false, line_.settings));
    return ApplyGiven();
  }

 private:
  struct Given {
    const OptionSpec* spec;
    CLI::Option* option;
    std::vector<std::string> values;
  };

  static std::string HelpText(Command command) { return std::string(InfoOf(command).help) + "."; }

  /// CLI11 prints its own usage line first; ours names the operands in their order.
  static std::string WithoutUsage(const std::string& help) {
    std::string text;
    size_t begin = 0;
    while (begin < help.size()) {
      size_t end = help.find('\n', begin);
      end = end == std::string::npos ? help.size() : end + 1;
      const std::string_view line(help.data() + begin, end - begin);
      if (!line.starts_with("Usage:")) text += line;
      begin = end;
    }
    return text;
  }

  std::string HelpHint() const {
    return fmt::format("'weightfs {} --help' lists the options", CommandName(command_));
  }

  void AddOperand(const std::string& name, std::string& destination, const std::string& help,
                  bool required = true) {
    CLI::Option* option = app_.add_option(name, destination, help);
    option->type_name("");
    if (required) option->required();
    operands_.push_back(option);
  }

  void AddOperands() {
    const std::string_view operands = InfoOf(command_).operands;
    if (operands.starts_with("SOURCE"))
      AddOperand("SOURCE", line_.source, "a checkpoint: a file or a folder");
    if (operands.ends_with("MOUNTPOINT")) AddOperand("MOUNTPOINT", line_.destination, "a folder");
    if (operands.ends_with("DIR")) AddOperand("DIR", line_.destination, "a folder, absent or empty");
    if (operands == "[NAME]") AddOperand("NAME", line_.family, "one family, in detail", false);
  }

  void AddOption(const OptionSpec& spec) {
    std::string name = fmt::format("--{}", spec.name);
    if (spec.name == "foreground") name = "-f," + name;
    auto given = std::make_unique<Given>(Given{&spec, nullptr, {}});
    if (spec.value_name.empty()) {
      const std::string help(spec.help);  // CLI11 would take a temporary for a variable to set.
      given->option = app_.add_flag(name, help)->disable_flag_override();
    } else {
      given->option = app_.add_option(name, given->values, std::string(spec.help))
                          ->allow_extra_args(false)
                          ->type_name(std::string(spec.value_name));
    }
    // An option that does not apply parses, so that the answer can be better than "unknown"; help leaves it
    // out.
    if ((spec.commands & Bit(command_)) == 0) given->option->group("");
    given_.push_back(std::move(given));
  }

  Status ApplyGiven() {
    for (const auto& given : given_) {
      const OptionSpec& spec = *given->spec;
      const std::string shown = fmt::format("--{}", spec.name);
      if (spec.value_name.empty()) {
        if (given->option->count() > 0)
          WEIGHTFS_CHECK(ApplyOption(spec, shown, "", command_, line_.settings));
        continue;
      }
      if (given->values.size() > 1 && !spec.repeatable)
        return UsageError(fmt::format("{}: given {} times; expected once", shown, given->values.size()));
      for (const std::string& value : given->values)
        WEIGHTFS_CHECK(ApplyOption(spec, shown, value, command_, line_.settings));
    }
    return {};
  }

  std::string MissingOperand() const {
    for (const CLI::Option* operand : operands_)
      if (operand->count() == 0) return operand->get_name();
    return "an operand";
  }

  Status Unexpected(const std::vector<std::string>& words) const {
    const std::vector<std::string> extras = app_.remaining(true);
    const std::string word = extras.empty() ? words.back() : extras.front();
    if (word.starts_with("-"))
      return UsageError(fmt::format("{}: unknown option '{}'; expected {}", CommandName(command_), word,
                                    Invocation(command_)),
                        HelpHint());
    return UsageError(fmt::format("{}: '{}' is one operand too many; expected {}", CommandName(command_),
                                  word, Invocation(command_)));
  }

  const Command command_;
  CommandLine& line_;
  CLI::App app_;
  std::vector<CLI::Option*> operands_;
  std::vector<std::unique_ptr<Given>> given_;
  std::vector<std::string> mount_words_;
};

std::string_view BaseName(std::string_view path) { return path.substr(path.rfind('/') + 1); }

bool IsMountHelperName(std::string_view name) {
  return name == "mount.weightfs" || name == "mount.fuse.weightfs";
}

/// What mount(8) calls. Its flags are not ours: -f is a fake mount, -n, -v, -t and -N change nothing here.
Result<ParsedCommandLine> ParseMountHelper(const std::vector<std::string>& words) {
  CommandLine line;
  std::vector<std::string> strings, operands;
  bool sloppy = false, verbose = false, no_mtab = false, read_only = false, read_write = false;
  std::string type, name_space;
  CLI::App app("The helper that mount(8) calls for the type fuse.weightfs.");
  app.name("mount.weightfs");
  app.add_option("operands", operands, "SOURCE MOUNTPOINT");
  app.add_option("-o", strings)->allow_extra_args(false);
  app.add_flag("-s", sloppy);
  app.add_flag("-f", line.fake);
  app.add_flag("-v", verbose);
  app.add_flag("-n", no_mtab);
  app.add_flag("-r", read_only);
  app.add_flag("-w", read_write);
  app.add_option("-t", type);
  app.add_option("-N", name_space);
  try {
    std::vector<std::string> reversed(words.rbegin(), words.rend());
    app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    return ParsedCommandLine{{}, CommandHelp(Command::kMount)};
  } catch (const CLI::ParseError& error) {
    return UsageError(
        fmt::format("mount.weightfs: {}; expected SOURCE MOUNTPOINT [-sfnv] [-o WORDS]", error.what()));
  }
  if (operands.size() != 2)
    return UsageError(
        fmt::format("mount.weightfs: {} operands; expected SOURCE MOUNTPOINT", operands.size()));
  line.source = operands[0];
  line.destination = operands[1];
  WEIGHTFS_CHECK(ApplyMountWords(strings, sloppy, line.settings));
  return ParsedCommandLine{std::move(line), {}};
}

/// Cuts `-- CMD ...` off the words of `run`, before the parser could take CMD's options for ours.
Status TakeRunWords(std::vector<std::string>& words, CommandLine& line) {
  const auto dashes = std::find(words.begin(), words.end(), "--");
  const bool help = std::find(words.begin(), dashes, "--help") != dashes ||
                    std::find(words.begin(), dashes, "-h") != dashes;
  if (help) {
    words = {"--help"};
    return {};
  }
  if (dashes == words.end() || std::next(dashes) == words.end())
    return UsageError(fmt::format("run: CMD is missing; expected {}", Invocation(Command::kRun)));
  line.run_words.assign(std::next(dashes), words.end());
  words.erase(dashes, words.end());
  return {};
}

Result<ParsedCommandLine> ParseCommand(Command command, std::vector<std::string> words) {
  ParsedCommandLine parsed;
  parsed.line.command = command;
  if (command == Command::kRun) WEIGHTFS_CHECK(TakeRunWords(words, parsed.line));
  bool help = false;
  WEIGHTFS_CHECK(Parser(command, parsed.line).Parse(words, help));
  if (help) parsed.text = CommandHelp(command);
  return parsed;
}

}  // namespace

Result<ParsedCommandLine> ParseCommandLine(const std::vector<std::string>& arguments) {
  const std::string program = arguments.empty() ? "weightfs" : arguments[0];
  std::vector<std::string> words(arguments.begin() + (arguments.empty() ? 0 : 1), arguments.end());
  if (IsMountHelperName(BaseName(program))) return ParseMountHelper(words);
  if (words.empty()) return UsageError("no command; expected one of those that 'weightfs --help' lists");
  const std::string first = words[0];
  if (first == "-h" || first == "--help" || first == "help") return ParsedCommandLine{{}, ProgramHelp()};
  if (first == "-V" || first == "--version")
    return ParsedCommandLine{{}, fmt::format("weightfs {}\n", kVersion)};
  if (const std::optional<Command> command = FindCommand(first))
    return ParseCommand(*command, {words.begin() + 1, words.end()});
  // mount.fuse3(8) calls the program itself: `weightfs SOURCE MOUNTPOINT -o WORDS`.
  const bool has_words =
      std::any_of(words.begin(), words.end(), [](const std::string& word) { return word.starts_with("-o"); });
  if (has_words) return ParseCommand(Command::kMount, std::move(words));
  return UsageError(
      fmt::format("'{}' is not a command; expected one of those that 'weightfs --help' lists", first));
}

std::string CommandHelp(Command command) {
  CommandLine unused;
  return Parser(command, unused).Help();
}

std::string ProgramHelp() {
  std::string text =
      "Usage: weightfs COMMAND ...\n"
      "Mounts a model checkpoint as a Hugging Face directory; names, types and layouts are converted as they "
      "are read.\n"
      "\nCommands:\n";
  for (const CommandInfo& info : kCommands) {
    std::string call = fmt::format("{} {}", CommandName(info.command), info.operands);
    if (info.command == Command::kRun) call += " -- CMD ...";
    fmt::format_to(std::back_inserter(text), "  {:<25} {}\n", call, info.help);
  }
  text +=
      "\n'weightfs COMMAND --help' lists the options of a command; weightfs(1) explains them.\n"
      "mount -t fuse.weightfs SOURCE MOUNTPOINT -o dtype=bf16,... and fstab mount too.\n"
      "\nExit status: 0; 1 failed while running; 2 wrong usage; 3 SOURCE is absent, damaged or not "
      "supported.\n";
  return text;
}

}  // namespace weightfs::cli
