// The option table, --help, the manual page and the README's table name the same options and commands.
#include <gtest/gtest.h>

#include <regex>
#include <set>
#include <string>

#include "cli/command_line.h"
#include "tests/support/temp_dir.h"

namespace weightfs::cli {
namespace {

using Names = std::set<std::string>;

Names TableNames() {
  Names names;
  for (const OptionSpec& option : AllOptions()) names.insert(std::string(option.name));
  return names;
}

/// The first groups of all matches of `pattern` in `text`.
Names Matches(const std::string& text, const std::string& pattern) {
  Names names;
  const std::regex regex(pattern, std::regex::ECMAScript | std::regex::multiline);
  for (std::sregex_iterator it(text.begin(), text.end(), regex), end; it != end; ++it) names.insert((*it)[1]);
  return names;
}

std::string Repository(const std::string& path) {
  return weightfs::testing::ReadFile(WEIGHTFS_SOURCE_DIR "/" + path);
}

/// The manual page with roff's dashes as dashes.
std::string ManualPage() {
  return std::regex_replace(Repository("docs/man/weightfs.1"), std::regex(R"(\\-)"), "-");
}

TEST(HelpTest, CommandsListTheOptionsThatApply) {
  for (int i = 0; i < kCommandCount; ++i) {
    const auto command = static_cast<Command>(i);
    Names wanted = {"help"};
    for (const OptionSpec& option : AllOptions())
      if ((option.commands & Bit(command)) != 0) wanted.insert(std::string(option.name));
    EXPECT_EQ(Matches(CommandHelp(command), R"(^  (?:-\w,)?--([a-z-]+))"), wanted) << CommandName(command);
  }
}

TEST(ManualPageTest, ListsTheOptionsOfTheTable) {
  Names wanted = TableNames();
  wanted.insert({"help", "version"});
  EXPECT_EQ(Matches(ManualPage(), R"re(^\.B[IR]? (?:-\w ", " )?--([a-z-]+))re"), wanted);
}

TEST(ManualPageTest, FlagsAndValuesAreThoseOfTheTable) {
  const std::string page = ManualPage();
  for (const OptionSpec& option : AllOptions()) {
    const std::string name = "--" + std::string(option.name);
    const std::string with_value = ".BI " + name + " \" " + std::string(option.value_name) + "\"\n";
    EXPECT_EQ(page.find(with_value) != std::string::npos, !option.value_name.empty()) << name;
  }
}

TEST(ManualPageTest, DescribesEveryCommand) {
  const std::string page = ManualPage();
  for (int i = 0; i < kCommandCount; ++i) {
    const std::string name(CommandName(static_cast<Command>(i)));
    EXPECT_NE(page.find("\\fBweightfs " + name + "\\fR"), std::string::npos) << name;
    EXPECT_NE(page.find(".TP\n.B " + name + "\n"), std::string::npos) << name;
  }
}

TEST(ReadmeTest, TableListsTheOptionsOfTheTable) {
  EXPECT_EQ(Matches(Repository("README.md"), R"(^\| `(?:-\w`, `)?--([a-z-]+))"), TableNames());
}

TEST(ProgramHelpTest, ListsEveryCommand) {
  for (int i = 0; i < kCommandCount; ++i) {
    const std::string name(CommandName(static_cast<Command>(i)));
    EXPECT_NE(ProgramHelp().find("\n  " + name + " "), std::string::npos) << name;
  }
}

}  // namespace
}  // namespace weightfs::cli
