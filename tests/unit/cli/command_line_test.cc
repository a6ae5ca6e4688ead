#include "cli/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weightfs::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

using Words = std::vector<std::string>;

CommandLine Parse(Words words) {
  words.insert(words.begin(), "weightfs");
  const Result<ParsedCommandLine> parsed = ParseCommandLine(words);
  EXPECT_TRUE(parsed) << (parsed ? "" : parsed.error().message);
  if (!parsed) return {};
  EXPECT_EQ(parsed->text, "");
  return parsed->line;
}

std::string Refusal(Words words, const std::string& program = "weightfs") {
  words.insert(words.begin(), program);
  const Result<ParsedCommandLine> parsed = ParseCommandLine(words);
  EXPECT_FALSE(parsed) << ::testing::PrintToString(words);
  if (parsed) return {};
  EXPECT_EQ(parsed.error().code, ErrorCode::kInvalidArgument);
  return parsed.error().message;
}

TEST(CommandLineTest, Operands) {
  CommandLine line = Parse({"mount", "src", "mnt"});
  EXPECT_EQ(line.command, Command::kMount);
  EXPECT_EQ(line.source, "src");
  EXPECT_EQ(line.destination, "mnt");
  EXPECT_EQ(Parse({"umount", "mnt"}).destination, "mnt");
  EXPECT_EQ(Parse({"status", "mnt"}).destination, "mnt");
  EXPECT_EQ(Parse({"export", "src", "out"}).destination, "out");
  EXPECT_EQ(Parse({"inspect", "src"}).source, "src");
  EXPECT_EQ(Parse({"families"}).family, "");
  EXPECT_EQ(Parse({"families", "llama"}).family, "llama");
  EXPECT_EQ(Parse({"doctor"}).command, Command::kDoctor);
}

TEST(CommandLineTest, NamesOfCommandsAreFineOperands) {
  EXPECT_EQ(Parse({"inspect", "run"}).source, "run");
  const CommandLine line = Parse({"mount", "mount", "export"});
  EXPECT_EQ(line.source, "mount");
  EXPECT_EQ(line.destination, "export");
}

TEST(CommandLineTest, OptionsStandAnywhere) {
  for (const Words& words :
       {Words{"mount", "--dtype", "f16", "src", "mnt"}, Words{"mount", "src", "--dtype=f16", "mnt"},
        Words{"mount", "src", "mnt", "--dtype", "f16"}}) {
    const CommandLine line = Parse(words);
    EXPECT_EQ(line.settings.open.dtype, DType::kF16);
    EXPECT_EQ(line.source, "src");
    EXPECT_EQ(line.destination, "mnt");
  }
  EXPECT_TRUE(Parse({"mount", "-f", "src", "mnt"}).settings.foreground);
  EXPECT_EQ(Parse({"mount", "src", "mnt", "-o", "ro,dtype=f64"}).settings.open.dtype, DType::kF64);
}

TEST(CommandLineTest, RepeatableOptionsTakeOneValueEach) {
  const CommandLine line = Parse({"inspect", "--include", "a", "--include", "b,c", "--exclude=-d", "src"});
  EXPECT_EQ(line.settings.open.include, (Words{"a", "b,c"}));
  EXPECT_EQ(line.settings.open.exclude, Words{"-d"});
  EXPECT_EQ(line.source, "src");
  EXPECT_THAT(Refusal({"inspect", "src", "--dtype", "f32", "--dtype", "f16"}), HasSubstr("--dtype"));
}

TEST(CommandLineTest, PatternsAreTakenAsTheyAre) {
  EXPECT_EQ(Parse({"inspect", "s", "--include", "[a-z]+"}).settings.open.include, Words{"[a-z]+"});
  EXPECT_EQ(Parse({"inspect", "s", "--include", "\"x\""}).settings.open.include, Words{"\"x\""});
  EXPECT_EQ(Parse({"inspect", "s", "--include", "a{1,3}"}).settings.open.include, Words{"a{1,3}"});
}

TEST(CommandLineTest, RunKeepsItsCommand) {
  const CommandLine line =
      Parse({"run", "--dtype", "f16", "src", "--", "sh", "-c", "ls {}", "--", "--dtype", "-h"});
  EXPECT_EQ(line.source, "src");
  EXPECT_EQ(line.settings.open.dtype, DType::kF16);
  EXPECT_EQ(line.run_words, (Words{"sh", "-c", "ls {}", "--", "--dtype", "-h"}));
  EXPECT_THAT(Refusal({"run", "src"}), HasSubstr("CMD"));
  EXPECT_THAT(Refusal({"run", "src", "--"}), HasSubstr("CMD"));
  EXPECT_THAT(Refusal({"run", "src", "extra", "--", "true"}), HasSubstr("extra"));
}

TEST(CommandLineTest, WrongUsageNamesTheWord) {
  EXPECT_THAT(Refusal({}), HasSubstr("no command"));
  EXPECT_THAT(Refusal({"frobnicate"}), HasSubstr("'frobnicate'"));
  EXPECT_THAT(Refusal({"mount"}), HasSubstr("SOURCE"));
  EXPECT_THAT(Refusal({"mount", "src"}), HasSubstr("MOUNTPOINT"));
  EXPECT_THAT(Refusal({"export", "src"}), HasSubstr("DIR"));
  EXPECT_THAT(Refusal({"mount", "src", "mnt", "extra"}), HasSubstr("'extra'"));
  EXPECT_THAT(Refusal({"mount", "src", "mnt", "--frob"}), HasSubstr("'--frob'"));
  EXPECT_THAT(Refusal({"mount", "src", "mnt", "--dtype"}), HasSubstr("--dtype"));
  EXPECT_THAT(Refusal({"inspect", "src", "--partial=x"}), HasSubstr("partial"));
}

TEST(CommandLineTest, EveryOptionParsesEverywhere) {
  for (int i = 0; i < kCommandCount; ++i) {
    const auto command = static_cast<Command>(i);
    for (const OptionSpec& option : AllOptions()) {
      if ((option.commands & Bit(command)) != 0) continue;
      Words words = {std::string(CommandName(command)), "--" + std::string(option.name)};
      if (!option.value_name.empty()) words.push_back("x");
      if (command == Command::kMount || command == Command::kExport) words.insert(words.end(), {"a", "b"});
      if (command == Command::kInspect || command == Command::kVerify || command == Command::kUmount ||
          command == Command::kStatus || command == Command::kRun)
        words.push_back("a");
      if (command == Command::kRun) words.insert(words.end(), {"--", "true"});
      EXPECT_THAT(Refusal(words), HasSubstr("does not apply to '" + std::string(CommandName(command)) + "'"));
    }
  }
}

TEST(CommandLineTest, HelpAndVersion) {
  for (const Words& words : {Words{"weightfs", "--help"}, Words{"weightfs", "-h"}, Words{"weightfs", "help"}})
    EXPECT_THAT(ParseCommandLine(words)->text, StartsWith("Usage: weightfs COMMAND"));
  EXPECT_THAT(ParseCommandLine({"weightfs", "mount", "--help"})->text,
              StartsWith("Usage: weightfs mount SOURCE"));
  EXPECT_THAT(ParseCommandLine({"weightfs", "run", "--help"})->text,
              StartsWith("Usage: weightfs run SOURCE"));
  EXPECT_THAT(ParseCommandLine({"weightfs", "--version"})->text, StartsWith("weightfs "));
}

TEST(MountFormsTest, SourceAndWordsAloneMount) {
  const CommandLine line = Parse({"src", "mnt", "-o", "rw,dtype=f32"});
  EXPECT_EQ(line.command, Command::kMount);
  EXPECT_EQ(line.source, "src");
  EXPECT_EQ(line.destination, "mnt");
  EXPECT_EQ(line.settings.open.dtype, DType::kF32);
  EXPECT_FALSE(line.fake);
}

TEST(MountFormsTest, ProgramNamesOfMount) {
  for (const char* program : {"mount.weightfs", "/sbin/mount.fuse.weightfs", "/usr/sbin/mount.weightfs"}) {
    const Result<ParsedCommandLine> parsed = ParseCommandLine(
        {program, "src", "mnt", "-n", "-v", "-o", "rw,dev,dtype=bf16", "-t", "fuse.weightfs"});
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_EQ(parsed->line.command, Command::kMount);
    EXPECT_EQ(parsed->line.source, "src");
    EXPECT_EQ(parsed->line.destination, "mnt");
    EXPECT_EQ(parsed->line.settings.open.dtype, DType::kBF16);
    EXPECT_FALSE(parsed->line.fake);
    EXPECT_FALSE(parsed->line.settings.foreground);
  }
}

TEST(MountFormsTest, HelperFlagsAreThoseOfMount) {
  EXPECT_TRUE(ParseCommandLine({"mount.weightfs", "src", "mnt", "-f"})->line.fake);
  EXPECT_TRUE(ParseCommandLine({"mount.weightfs", "src", "mnt", "-s", "-o", "frobnicate"}));
  EXPECT_THAT(Refusal({"src", "mnt", "-o", "frobnicate"}, "mount.weightfs"), HasSubstr("frobnicate"));
  EXPECT_THAT(Refusal({"src"}, "mount.weightfs"), HasSubstr("MOUNTPOINT"));
  EXPECT_THAT(Refusal({"src", "mnt", "more"}, "mount.weightfs"), HasSubstr("MOUNTPOINT"));
  // A source called like a command is a source here.
  EXPECT_EQ(ParseCommandLine({"mount.weightfs", "inspect", "mnt"})->line.source, "inspect");
}

}  // namespace
}  // namespace weightfs::cli
