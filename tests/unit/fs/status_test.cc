#include "fs/status.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace weightfs {
namespace {

TEST(Status, SaysWhatWasServedAndWhatFailed) {
  Counters counters;
  counters.CountRead(FileClass::kWeights, 1000);
  counters.CountOperation(Operation::kRead, std::chrono::microseconds(5));
  counters.CountError();
  OpenedSource source;
  source.report.source = "model\xff.bin";  // No UTF-8.
  source.cache = std::make_shared<BlockCache>(1_MiB);
  MountOptions options;
  const std::string text = StatusJson({.source = &source,
                                       .options = &options,
                                       .mountpoint = "/mnt/m",
                                       .started = std::chrono::system_clock::now() - std::chrono::seconds(90),
                                       .reads_per_group = 4,
                                       .threads_max = 20,
                                       .readahead_bytes = 4_MiB,
                                       .counters = counters.Sum(),
                                       .errors = {{.time_seconds = 5,
                                                   .file = "model.safetensors",
                                                   .offset_bytes = 77,
                                                   .error_number = 116,
                                                   .cause = "changed"}}});
  EXPECT_TRUE(text.ends_with("}\n"));
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json.at("mountpoint"), "/mnt/m");
  EXPECT_GE(json.at("uptime_seconds"), 89);
  EXPECT_EQ(json.at("served").at("weights").at("bytes"), 1000);
  EXPECT_EQ(json.at("latency").at("read").at("count"), 1);
  EXPECT_EQ(json.at("latency").at("read").at("below_microseconds_log2").size(), 4u);
  EXPECT_EQ(json.at("cache").at("capacity_bytes"), 1 << 20);
  EXPECT_EQ(json.at("readahead_bytes"), 4 << 20);
  EXPECT_EQ(json.at("error_count"), 1);
  EXPECT_EQ(json.at("errors").at(0).at("offset"), 77);
  EXPECT_EQ(json.at("errors").at(0).at("errno"), 116);
}

TEST(Status, WhatIsNotKnownIsNull) {
  OpenedSource source;
  MountOptions options;
  const auto json = nlohmann::json::parse(StatusJson({.source = &source, .options = &options}));
  EXPECT_TRUE(json.at("readahead_bytes").is_null());
  EXPECT_TRUE(json.at("cache").is_null());
  EXPECT_TRUE(json.at("sources").empty());
}

}  // namespace
}  // namespace weightfs
