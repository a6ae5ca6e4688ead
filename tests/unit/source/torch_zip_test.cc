// The zip container: directory, eras, byte order, deflated members, limits.
#include "tests/unit/source/torch_test_util.h"

namespace weightfs::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kBytes = Floats({1.5f, -2});

PickledValue TwoFloats() { return OneTensorDict(TorchVector("0", 2)); }

ZipWriter Plain() {
  ZipWriter zip;
  zip.Add({.name = "m/data.pkl", .content = PickleStream(TwoFloats())})
      .Add({.name = "m/data/0", .content = kBytes});
  return zip;
}

void ExpectTwoFloats(const std::string& file) {
  const auto read = ReadCheckpoint(file);
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_EQ(read->format, "torch-zip");
  ASSERT_THAT(Names(*read), ElementsAre("w"));
  EXPECT_EQ(ReadTensor(read->tensors[0]).value(), kBytes);
}

TEST(TorchZipTest, NeedsThePickleAndItsStoragesOnly) {
  ExpectTwoFloats(Plain().Finish(true));
  ExpectTwoFloats(Plain().Finish(false));
}

TEST(TorchZipTest, ReadsZip64Members) {
  ZipWriter zip;
  zip.Add({.name = "m/data.pkl", .content = PickleStream(TwoFloats()), .zip64 = true});
  zip.Add({.name = "m/data/0", .content = kBytes, .zip64 = true, .padding_bytes = 60});
  ExpectTwoFloats(zip.Finish());
}

TEST(TorchZipTest, AcceptsFoldersOfOtherZipPrograms) {
  ZipWriter zip;
  zip.Add({.name = "m/", .content = ""});
  zip.Add({.name = "m/data/", .content = ""});
  zip.Add({.name = "m/data.pkl", .content = PickleStream(TwoFloats())});
  zip.Add({.name = "m/data/0", .content = kBytes});
  ExpectTwoFloats(zip.Finish(false));
}

TEST(TorchZipTest, ServesTheFirstBytesOfALongerRecord) {
  ExpectTwoFloats(TorchZip(TwoFloats(), {{"0", kBytes + "more"}}));
  const Error error = ReadError(TorchZip(TwoFloats(), {{"0", kBytes.substr(1)}}));
  EXPECT_EQ(error.code, ErrorCode::kCorrupt);
  EXPECT_EQ(error.message,
            "file.pt: tensor 'w': zip member 'archive/data/0' has 7 bytes; expected 8, for 2 elements of "
            "float32");
}

TEST(TorchZipTest, ReadsByteOrder) {
  ExpectTwoFloats(TorchZip(TwoFloats(), {{"0", kBytes}}, {{"byteorder", "little"}}));
  const std::string big = {kBytes[3], kBytes[2], kBytes[1], kBytes[0],
                           kBytes[7], kBytes[6], kBytes[5], kBytes[4]};
  ExpectTwoFloats(TorchZip(TwoFloats(), {{"0", big}}, {{"byteorder", "big"}}));
  EXPECT_THAT(ReadError(TorchZip(TwoFloats(), {{"0", kBytes}}, {{"byteorder", "middle"}})).message,
              HasSubstr("byte order 'middle'; expected 'little' or 'big'"));
}

TEST(TorchZipTest, RefusesUntypedStoragesOfBigEndianFiles) {
  const auto file = [](std::string_view dtype) {
    return TorchZip(OneTensorDict(PickleCall(PickleGlobal("torch._utils", "_rebuild_tensor_v3"),
                                             {TorchStorageId("UntypedStorage", "0", 8), PickleInt(0),
                                              PickleNumbers({4}), PickleNumbers({1}), PickleBool(false),
                                              EmptyOrderedDict(), PickleGlobal("torch", dtype)})),
                    {{"0", kBytes}}, {{"byteorder", "big"}});
  };
  const auto two_bytes = ReadCheckpoint(file("uint16"));
  ASSERT_TRUE(two_bytes.has_value());
  ASSERT_EQ(two_bytes->unsupported.size(), 1u);
  EXPECT_THAT(two_bytes->unsupported[0].reason, HasSubstr("byte order is ambiguous"));
  EXPECT_EQ(ReadCheckpoint(file("float8_e5m2"))->tensors.size(), 1u);
}

TEST(TorchZipTest, ChecksTheVersion) {
  for (const char* version : {"1", "3\n", "10\n"}) {
    ZipWriter zip = Plain();
    ExpectTwoFloats(zip.Add({.name = "m/version", .content = version}).Finish());
  }
  for (const char* version : {"0", "11\n"}) {
    ZipWriter zip = Plain();
    EXPECT_EQ(ReadError(zip.Add({.name = "m/.data/version", .content = version}).Finish()).code,
              ErrorCode::kUnsupported);
  }
  ZipWriter zip = Plain();
  EXPECT_EQ(ReadError(zip.Add({.name = "m/version", .content = "three"}).Finish()).code, ErrorCode::kCorrupt);
}

TEST(TorchZipTest, InflatesDeflatedMembers) {
  ExpectTwoFloats(TorchZip(TwoFloats(), {{"0", kBytes}}, {}, true));
}

TEST(TorchZipTest, ACorruptDeflatedMemberFailsWhenItIsRead) {
  for (const bool bad_crc : {true, false}) {
    ZipWriter zip;
    zip.Add({.name = "m/data.pkl", .content = PickleStream(TwoFloats())});
    ZipEntry entry{.name = "m/data/0", .content = kBytes, .deflated = true};
    if (bad_crc) entry.crc32 = 12345;
    zip.Add(entry);
    std::string file = zip.Finish();
    if (!bad_crc) file[file.find(Deflate(kBytes))] = '\7';  // A block type that does not exist.
    const auto read = ReadCheckpoint(file);
    ASSERT_TRUE(read.has_value()) << read.error().message;
    const Result<std::string> bytes = ReadTensor(read->tensors[0]);
    ASSERT_FALSE(bytes.has_value());
    EXPECT_EQ(bytes.error().code, ErrorCode::kCorrupt);
    EXPECT_THAT(bytes.error().message, HasSubstr("file.pt!m/data/0: deflated data that does not decode"));
  }
}

TEST(TorchZipTest, DeflatedMembersHaveTheirStatedSize) {
  for (const uint64_t stated : {8u, 7u, 9u}) {
    ZipWriter zip;
    zip.Add({.name = "m/data.pkl", .content = PickleStream(OneTensorDict(TorchVector("0", 1)))});
    zip.Add({.name = "m/data/0", .content = kBytes, .deflated = true, .stated_size = stated});
    const auto read = ReadCheckpoint(zip.Finish());
    ASSERT_TRUE(read.has_value()) << read.error().message;
    EXPECT_EQ(ReadTensor(read->tensors[0]).has_value(), stated == kBytes.size()) << stated;
  }
}

TEST(TorchZipTest, ADeflatedMemberMustFitTheCache) {
  for (const auto& [cache_bytes, fits] : {std::pair{7u, false}, {8u, true}, {9u, true}}) {
    Limits limits;
    limits.cache_bytes = cache_bytes;
    const auto read = ReadCheckpoint(TorchZip(TwoFloats(), {{"0", kBytes}}, {}, true), TestContext(limits));
    ASSERT_EQ(read.has_value(), fits) << cache_bytes;
    if (fits) continue;
    EXPECT_EQ(read.error().code, ErrorCode::kLimitExceeded);
    EXPECT_THAT(read.error().message, HasSubstr("8 bytes when inflated; the cache holds 7"));
    EXPECT_THAT(read.error().remedy, HasSubstr("--cache 1MiB"));
    EXPECT_THAT(read.error().remedy, HasSubstr("torch.save"));
  }
}

TEST(TorchZipTest, BoundsMembersDirectoryAndPickle) {
  const std::string file = Plain().Finish();
  const auto expect = [&](const Limits& limits, bool fits) {
    const auto read = ReadCheckpoint(file, TestContext(limits));
    EXPECT_EQ(read.has_value(), fits) << (read ? "" : read.error().message);
    if (!read) {
      EXPECT_EQ(read.error().code, ErrorCode::kLimitExceeded);
    }
  };
  const uint64_t directory_bytes = 2 * 46 + std::string(
                                                "m/data.pkl"
                                                "m/data/0")
                                                .size();
  const uint64_t pickle_bytes = PickleStream(TwoFloats()).size();
  for (const int delta : {-1, 0, 1}) {
    const auto around = [&](uint64_t value) { return value + static_cast<uint64_t>(delta); };
    expect({.zip_members_max = around(2)}, delta >= 0);
    expect({.zip_directory_bytes_max = around(directory_bytes)}, delta >= 0);
    expect({.pickle_stream_bytes_max = around(pickle_bytes)}, delta >= 0);
  }
}

TEST(TorchZipTest, APickleThatInflatesToFarMoreIsRefused) {
  ZipWriter zip;
  zip.Add({.name = "m/data.pkl", .content = "x", .deflated = true, .stated_size = 200_MiB});
  const Error error = ReadError(zip.Finish());
  EXPECT_EQ(error.code, ErrorCode::kLimitExceeded);
  EXPECT_THAT(error.message, HasSubstr("209715200 bytes deflated to 6"));
}

TEST(TorchZipTest, EveryTruncationIsRefused) {
  const std::string file = TorchZip(TwoFloats(), {{"0", kBytes}});
  for (size_t size = 0; size < file.size(); ++size) {
    const auto read = ReadCheckpoint(file.substr(0, size));
    ASSERT_FALSE(read.has_value()) << size;
    EXPECT_THAT(read.error().message, HasSubstr("file.pt")) << size;
  }
}

TEST(TorchZipTest, NamesLookAlikes) {
  const auto archive = [](const std::string& name) {
    ZipWriter zip;
    zip.Add({.name = "m/data.pkl", .content = "x"});
    return zip.Add({.name = name, .content = "x"}).Finish();
  };
  EXPECT_THAT(ReadError(archive("m/constants.pkl")).message, HasSubstr("a TorchScript archive"));
  EXPECT_THAT(ReadError(archive("m/.data/extern_modules")).message, HasSubstr("a torch.package archive"));
  EXPECT_THAT(ReadError(archive("m/archive_format")).message, HasSubstr("a torch.export archive"));
  EXPECT_THAT(ReadError(archive("MAR-INF/MANIFEST.json")).message, HasSubstr("a TorchServe archive"));
  ZipWriter arrays;
  EXPECT_THAT(ReadError(arrays.Add({.name = "a.npy", .content = "x"}).Finish()).message, HasSubstr("(.npz)"));
  ZipWriter other;
  const Error error = ReadError(other.Add({.name = "x/readme", .content = "x"}).Finish());
  EXPECT_EQ(error.code, ErrorCode::kUnsupported);
  EXPECT_THAT(error.message, HasSubstr("without 'x/data.pkl'"));
}

}  // namespace
}  // namespace weightfs::testing
