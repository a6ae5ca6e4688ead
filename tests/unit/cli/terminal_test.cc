#include "cli/terminal.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <sstream>

namespace weightfs::cli {
namespace {

TEST(PrintableTest, ControlCharactersAndBrokenUtf8AreReplaced) {
  EXPECT_EQ(Printable("plain é 漢 🙂"), "plain é 漢 🙂");
  EXPECT_EQ(Printable("a\x1b[31mb\n\t\x7f"), "a?[31mb???");
  EXPECT_EQ(Printable("\xC2\x9B"
                      "31m"),
            "?31m");
  EXPECT_EQ(Printable("\xFF\xC3"), "??");
}

TEST(ElideMiddleTest, KeepsBothEnds) {
  EXPECT_EQ(ElideMiddle("short", 10), "short");
  EXPECT_EQ(ElideMiddle("exactly10!", 10), "exactly10!");
  EXPECT_EQ(ElideMiddle("abcdefghijk", 5), "ab…jk");
  EXPECT_EQ(ElideMiddle("abcdefghijk", 6), "ab…ijk");
  EXPECT_EQ(ElideMiddle("ééééééé", 5), "éé…éé");
  for (size_t width = 1; width < 30; ++width)
    EXPECT_LE(DisplayWidth(ElideMiddle("transformer.h.11.attn.c_attn.weight", width)), width);
}

TEST(WrapTextTest, LinesBreakAtSpaces) {
  EXPECT_EQ(WrapText("", 10), std::vector<std::string>{""});
  EXPECT_EQ(WrapText("one two three", 8), (std::vector<std::string>{"one two", "three"}));
  EXPECT_EQ(WrapText("one abcdefghijk two", 5), (std::vector<std::string>{"one", "ab…jk", "two"}));
}

TEST(TextTableTest, FitsTheWidthAndAlignsNumbers) {
  TextTable table({{"tensor", false, true}, {"dtype"}, {"size", true}});
  table.AddRow({std::string(200, 'x'), "F16", "1 B"});
  table.AddRow({"short", "BF16", "123 kB"});
  const std::string text = table.Format(60);
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(DisplayWidth(line), 60u) << line;
  EXPECT_NE(text.find("…"), std::string::npos);
  EXPECT_NE(text.find("F16       1 B\n"), std::string::npos) << text;
  EXPECT_NE(text.find("BF16   123 kB\n"), std::string::npos) << text;
}

TEST(TextTableTest, TheWidestColumnGivesWayFirst) {
  TextTable table({{"a", false, true}, {"b", false, true}});
  table.AddRow({std::string(100, 'x'), std::string(20, 'y')});
  EXPECT_NE(table.Format(80).find(std::string(20, 'y')), std::string::npos);
}

TEST(TerminalWidthTest, PipesHaveTheWidthOfColumnsOr80) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  unsetenv("COLUMNS");
  EXPECT_EQ(TerminalWidth(ends[1]), 80);
  setenv("COLUMNS", "132", 1);
  EXPECT_EQ(TerminalWidth(ends[1]), 132);
  setenv("COLUMNS", "3", 1);
  EXPECT_EQ(TerminalWidth(ends[1]), 40);
  setenv("COLUMNS", "nonsense", 1);
  EXPECT_EQ(TerminalWidth(ends[1]), 80);
  unsetenv("COLUMNS");
  close(ends[0]);
  close(ends[1]);
}

TEST(ProgressTest, TheLineFitsAndHasBytesRateAndTime) {
  const std::string line = FormatProgress("exported", 500'000'000, 2'000'000'000, 1.0, 100);
  EXPECT_NE(line.find(" 25 %"), std::string::npos) << line;
  EXPECT_NE(line.find("500 MB of 2.00 GB"), std::string::npos) << line;
  EXPECT_NE(line.find("500 MB/s"), std::string::npos) << line;
  EXPECT_NE(line.find("3 s left"), std::string::npos) << line;
  for (int width = 40; width < 200; ++width)
    EXPECT_LT(FormatProgress("exported", 123'456'789, 9'876'543'210, 3.3, width).size(),
              static_cast<size_t>(width));
  EXPECT_NE(FormatProgress("read", 0, 0, 0, 80).find("100 %"), std::string::npos);
  EXPECT_NE(FormatProgress("read", 0, 10, 0, 80).find("? left"), std::string::npos);
}

}  // namespace
}  // namespace weightfs::cli
