#include "cli/digests.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "cli/digest_manifest.h"
#include "cli/export_writer.h"
#include "cli/source.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_dir.h"

namespace weightfs::cli {
namespace {

using ::testing::HasSubstr;
using weightfs::testing::PatternBytes;
using weightfs::testing::ReadFile;
using weightfs::testing::TempDir;
using weightfs::testing::WriteFile;
using weightfs::testing::WriteSafetensors;

/// SHA-256 of "abc", from the standard (FIPS 180-2, appendix B.1).
constexpr std::string_view kDigestOfAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr std::string_view kDigestOfNothing =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A tree of one weight file, larger than a chunk and than what is digested in place.
struct Model {
  explicit Model(const std::string& path, std::string_view small = "abc") {
    const uint64_t large_bytes = 9'000'001;
    WriteFile(path, WriteSafetensors({{"large", "U8", large_bytes, PatternBytes(large_bytes)},
                                      {"empty", "F32", 0, ""},
                                      {"small", "U8", small.size(), std::string(small)}}));
    Result<OpenedSource> result = Open(path, {});
    EXPECT_TRUE(result) << result.error().message;
    opened = *std::move(result);
  }
  Digests Compute(uint32_t threads = 2) const {
    Progress progress("read", ListedBytes(opened.tree));
    const Result<Digests> digests = ComputeDigests(opened, threads, progress);
    EXPECT_TRUE(digests);
    EXPECT_EQ(progress.done_bytes(), ListedBytes(opened.tree));
    return *digests;
  }
  OpenedSource opened;
};

const TensorDigest& Find(const Digests& digests, std::string_view name) {
  for (const TensorDigest& tensor : digests.tensors)
    if (tensor.name == name) return tensor;
  ADD_FAILURE() << name;
  return digests.tensors.front();
}

TEST(DigestsTest, TensorsAreDigestedAcrossChunks) {
  const TempDir dir;
  const Model model(dir / "m.safetensors");
  const Digests digests = model.Compute();
  EXPECT_EQ(Find(digests, "small").sha256, kDigestOfAbc);
  EXPECT_EQ(Find(digests, "empty").sha256, kDigestOfNothing);
  EXPECT_EQ(Find(digests, "large").size_bytes, 9'000'001u);
  ASSERT_EQ(digests.files.size(), 1u);
  EXPECT_EQ(digests.files[0].path, "model.safetensors");
  EXPECT_EQ(digests.files[0].sha256.size(), 64u);
}

TEST(DigestsTest, ThreadsDoNotMatter) {
  const TempDir dir;
  const Model model(dir / "m.safetensors");
  EXPECT_EQ(DigestsJson(model.opened.report, model.Compute(1), nullptr, {}),
            DigestsJson(model.opened.report, model.Compute(4), nullptr, {}));
}

TEST(DigestsTest, AManifestReadsBack) {
  const TempDir dir;
  const Model model(dir / "m.safetensors");
  const Digests digests = model.Compute();
  WriteFile(dir / "manifest.json", DigestsJson(model.opened.report, digests, nullptr, {}));
  EXPECT_TRUE(IsDigestManifest(dir / "manifest.json"));
  EXPECT_FALSE(IsDigestManifest(dir / "m.safetensors"));
  const Result<Digests> read = ReadDigestManifest(dir / "manifest.json");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_TRUE(CompareDigests(digests, *read, model.opened.report, true).empty());
}

TEST(DigestsTest, ManifestsThatAreNoneAreWrongUsage) {
  const TempDir dir;
  for (const char* text :
       {"{}", "{\"schema\":1}", "{\"schema\":2,\"files\":[],\"tensors\":[]}", "{", "[]",
        "{\"schema\":1,\"files\":[{}],\"tensors\":[]}", "{\"schema\":1,\"files\":[],\"tensors\":[{}]}"}) {
    WriteFile(dir / "manifest.json", text);
    const Result<Digests> read = ReadDigestManifest(dir / "manifest.json");
    ASSERT_FALSE(read) << text;
    EXPECT_EQ(read.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(read.error().message, HasSubstr(dir / "manifest.json"));
  }
}

TEST(CompareDigestsTest, NamesWhatDiffers) {
  const TempDir dir;
  const Model model(dir / "a.safetensors"), other(dir / "b.safetensors", "abd"),
      longer(dir / "c.safetensors", "abcd");
  const Digests ours = model.Compute();
  const auto names = [](const std::vector<Mismatch>& mismatches) {
    std::vector<std::string> list;
    for (const Mismatch& mismatch : mismatches) list.push_back(mismatch.name);
    return list;
  };
  EXPECT_EQ(names(CompareDigests(ours, other.Compute(), model.opened.report, true)),
            std::vector<std::string>{"small"});
  const std::vector<Mismatch> shapes = CompareDigests(ours, longer.Compute(), model.opened.report, true);
  ASSERT_EQ(shapes.size(), 1u);
  EXPECT_EQ(shapes[0].what, "U8 [3]; expected U8 [4]");
}

TEST(CompareDigestsTest, MissingAndExtraTensorsAndFiles) {
  Digests ours, theirs;
  ours.tensors = {{"model", "both", "model.safetensors", "F32", {1}, 4, "x"},
                  {"model", "ours", "model.safetensors", "F32", {1}, 4, "x"}};
  theirs.tensors = {{"pytorch_model", "both", "pytorch_model.safetensors", "F32", {1}, 4, "x"},
                    {"pytorch_model", "theirs", "pytorch_model.safetensors", "F32", {1}, 4, "x"}};
  theirs.files = {{"config.json", 2, "y", false}};
  EXPECT_EQ(CompareDigests(ours, theirs, {}, false).size(), 2u);
  EXPECT_EQ(CompareDigests(ours, theirs, {}, true).size(), 3u);
  weightfs::Report report;
  report.dropped.push_back({"theirs", "f", "--exclude theirs"});
  EXPECT_EQ(CompareDigests(ours, theirs, report, false).size(), 1u);
}

TEST(SetOfFileTest, ShardNumbersDoNotCount) {
  EXPECT_EQ(SetOfFile("model.safetensors"), "model");
  EXPECT_EQ(SetOfFile("model-00001-of-00002.safetensors"), "model");
  EXPECT_EQ(SetOfFile("unet/model.fp16-00001-of-00002.safetensors"), "unet/model.fp16");
  EXPECT_EQ(SetOfFile("model-00001-of-00002.fp16.safetensors"), "model.fp16");
  EXPECT_EQ(SetOfFile("best-of-00001.safetensors"), "best-of-00001");
  EXPECT_EQ(SetOfFile("-of-.safetensors"), "-of-");
}

TEST(WriteTreeTest, WritesWhatIsServed) {
  const TempDir dir;
  const Model model(dir / "m.safetensors");
  std::filesystem::create_directory(dir / "out");
  Progress progress("exported", 0);
  ASSERT_TRUE(WriteTree(model.opened.tree, dir / "out", 3, progress));
  EXPECT_EQ(progress.done_bytes(), ListedBytes(model.opened.tree));
  EXPECT_FALSE(std::filesystem::exists(dir / "out/.weightfs"));
  const Result<OpenedSource> exported = Open(dir / "out", {});
  ASSERT_TRUE(exported) << exported.error().message;
  const Result<Digests> digests = ComputeDigests(*exported, 1, progress);
  ASSERT_TRUE(digests);
  EXPECT_TRUE(CompareDigests(*digests, model.Compute(), exported->report, false).empty());
}

}  // namespace
}  // namespace weightfs::cli
