/// \file
/// A folder of malformed files with what is to be said of each: tests/malformed/FORMAT/expected.json maps a
/// file's name to `{"code": ..., "message_contains": ...}`.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"

namespace weightfs::testing {

struct MalformedCase {
  std::string path;
  std::string code;  ///< As `ErrorCodeName` has it.
  std::string message_contains;
};

/// The cases of `folder`. Every file beside expected.json and the generator must have one, and the other way
/// round.
inline std::vector<MalformedCase> LoadMalformedCases(const std::filesystem::path& folder) {
  const auto expected = nlohmann::json::parse(ReadFile((folder / "expected.json").string()));
  std::vector<MalformedCase> cases;
  for (const auto& [name, what] : expected.items()) {
    EXPECT_TRUE(std::filesystem::exists(folder / name)) << name << " is expected, and absent";
    cases.push_back({(folder / name).string(), what.at("code"), what.at("message_contains")});
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name != "expected.json" && name != "__pycache__" && entry.path().extension() != ".py") {
      EXPECT_TRUE(expected.contains(name)) << name << " has no entry in expected.json";
    }
  }
  EXPECT_FALSE(cases.empty()) << folder;
  return cases;
}

}  // namespace weightfs::testing
