#include "convert/source/safetensors/reader.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>

#include "tests/support/malformed_corpus.h"

namespace weightfs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

FilePtr FileOf(std::string_view header, uint64_t data_bytes) {
  const uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  bytes += header;
  bytes.append(data_bytes, 'd');
  return MakeMemoryFile(std::move(bytes), "model.safetensors");
}

Result<Checkpoint> Read(const FilePtr& file, const Limits& limits = {}) {
  return ReadSafetensors(file, {.limits = limits, .cache = std::make_shared<BlockCache>(1 << 20)});
}

TEST(SafetensorsReaderTest, ReadsTensorsInFileOrder) {
  const auto read = Read(FileOf(R"({"b":{"dtype":"F16","shape":[2,3],"data_offsets":[4,16]},)"
                                R"("__metadata__":{"format":"pt","by":"x"},)"
                                R"("a":{"shape":[],"data_offsets":[0,4],"dtype":"F32"}}   )",
                                16));
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_EQ(read->format, "safetensors");
  EXPECT_THAT(read->metadata, ElementsAre(Pair("by", "x"), Pair("format", "pt")));
  ASSERT_EQ(read->tensors.size(), 2);
  EXPECT_EQ(read->tensors[0].name, "a");
  EXPECT_THAT(read->tensors[0].view.shape(), IsEmpty());
  EXPECT_EQ(read->tensors[0].view.dtype(), DType::kF32);
  EXPECT_EQ(read->tensors[1].name, "b");
  EXPECT_EQ(read->tensors[1].file, "model.safetensors");
  EXPECT_THAT(read->tensors[1].view.shape(), ElementsAre(2, 3));
  const ByteRange header = *SafetensorsHeaderRange(*read->tensors[0].view.storage(), Limits{});
  EXPECT_EQ(header.begin, 8);
  EXPECT_EQ(read->tensors[1].view.IdentityRange(), (ByteRange{header.end + 4, header.end + 16}));
  EXPECT_EQ(read->metadata_bytes, header.end);
}

TEST(SafetensorsReaderTest, AcceptsWhatTheReferenceReaderAccepts) {
  const std::pair<std::string_view, uint64_t> cases[] = {
      {"{}", 0},
      {" \n{} \t", 0},
      {R"({"__metadata__":null})", 0},
      {R"({"__metadata__":{}})", 0},
      {R"({"e":{"dtype":"U8","shape":[0,5],"data_offsets":[4,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
       4},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"x":{"y":[1,{"z":null}]},"w":-1.5,"v":"s","u":true}})",
       4},
      {R"({"a":{"dtype":"F4","shape":[3,2],"data_offsets":[0,3]}})", 3},
      {R"({"a":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]}})", 3},
      {R"({"":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}})", 1},
      {R"({"a":{"dtype":"U8","shape":[18446744073709551615,0],"data_offsets":[0,0]}})", 0},
  };
  for (const auto& [header, data_bytes] : cases) {
    const auto read = Read(FileOf(header, data_bytes));
    EXPECT_TRUE(read.has_value()) << header << ": " << read.error().message;
  }
}

TEST(SafetensorsReaderTest, ReadsEveryDtype) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto dtype = static_cast<DType>(i);
    const auto read = Read(FileOf(fmt::format(R"({{"a":{{"dtype":"{}","shape":[8],"data_offsets":[0,{}]}}}})",
                                              SafetensorsName(dtype), BitWidth(dtype)),
                                  BitWidth(dtype)));
    ASSERT_TRUE(read.has_value()) << read.error().message;
    EXPECT_EQ(read->tensors[0].view.dtype(), dtype);
    EXPECT_EQ(read->tensors[0].view.size_bytes(), BitWidth(dtype));
  }
}

TEST(SafetensorsReaderTest, LimitsAreExact) {
  const std::string header = R"({"a":{"dtype":"U8","shape":[1,1,4],"data_offsets":[0,4]},)"
                             R"("b":{"dtype":"U8","shape":[],"data_offsets":[4,5]}})";
  const FilePtr file = FileOf(header, 5);
  for (const uint64_t limit : {header.size() - 1, header.size(), header.size() + 1})
    EXPECT_EQ(Read(file, {.emitted_header_bytes_max = limit}).has_value(), limit >= header.size()) << limit;
  for (const uint64_t limit : {1, 2, 3})
    EXPECT_EQ(Read(file, {.tensors_max = limit}).has_value(), limit >= 2) << limit;
  for (const uint32_t limit : {2, 3, 4})
    EXPECT_EQ(Read(file, {.tensor_rank_max = limit}).has_value(), limit >= 3) << limit;
  EXPECT_EQ(Read(file, {.tensors_max = 1}).error().code, ErrorCode::kLimitExceeded);
}

TEST(SafetensorsReaderTest, TenThousandTensorsTakeLittleTime) {
  std::string header = "{";
  for (int i = 0; i < 10'000; ++i)
    header += fmt::format(R"({}"model.layers.{}.self_attn.q_proj.weight":{{"dtype":"F16","shape":[1,2],)"
                          R"("data_offsets":[{},{}]}})",
                          i == 0 ? "" : ",", i, i * 4, i * 4 + 4);
  const FilePtr file = FileOf(header + "}", 40'000);
  auto best = std::chrono::nanoseconds::max();
  for (int attempt = 0; attempt < 5; ++attempt) {  // the machine may be busy
    const auto begin = std::chrono::steady_clock::now();
    const auto read = Read(file);
    best = std::min<std::chrono::nanoseconds>(best, std::chrono::steady_clock::now() - begin);
    ASSERT_TRUE(read.has_value());
    ASSERT_EQ(read->tensors.size(), 10'000);
  }
  RecordProperty("microseconds", static_cast<int>(best.count() / 1000));
  EXPECT_LT(best, std::chrono::seconds(1));  // far above the budget, so that sanitizers pass
}

TEST(SafetensorsReaderTest, RefusesMalformedFiles) {
  for (const testing::MalformedCase& malformed :
       testing::LoadMalformedCases(WEIGHTFS_MALFORMED_DIR "/safetensors")) {
    const auto read = Read(MakeMemoryFile(testing::ReadFile(malformed.path), "bad.safetensors"));
    ASSERT_FALSE(read.has_value()) << malformed.path;
    EXPECT_EQ(ErrorCodeName(read.error().code), malformed.code)
        << malformed.path << ": " << read.error().message;
    EXPECT_THAT(read.error().message, ::testing::StartsWith("bad.safetensors: ")) << malformed.path;
    EXPECT_THAT(read.error().message, HasSubstr(malformed.message_contains)) << malformed.path;
  }
}

TEST(SafetensorsReaderTest, EveryTruncationIsRefused) {
  const std::string header = R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})";
  const std::string whole = static_cast<char>(header.size()) + std::string(7, '\0') + header + "data";
  ASSERT_TRUE(Read(MakeMemoryFile(whole, "f")).has_value());
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(Read(MakeMemoryFile(whole.substr(0, size), "f")).has_value()) << size;
}

}  // namespace
}  // namespace weightfs
