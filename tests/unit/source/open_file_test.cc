// Formats are told apart by content, and what is no checkpoint is named.
#include "convert/source/open_file.h"

#include "tests/support/malformed_corpus.h"
#include "tests/unit/source/torch_test_util.h"

namespace weightfs::testing {
namespace {

using ::testing::HasSubstr;

Result<FileFormat> Detect(std::string bytes) {
  return DetectFileFormat(MakeMemoryFile(std::move(bytes), "file.pt"));
}

TEST(OpenFileTest, TellsFormatsApart) {
  EXPECT_EQ(Detect(TorchZip(PickleDict({}), {})).value(), FileFormat::kTorchZip);
  EXPECT_EQ(Detect(TorchLegacy(PickleDict({}), {})).value(), FileFormat::kTorchLegacy);
  EXPECT_EQ(Detect(TarArchive({{"storages", ""}, {"tensors", ""}, {"pickle", ""}})).value(),
            FileFormat::kTorchTar);
  EXPECT_EQ(Detect(LittleEndian(2, 8) + "{}").value(), FileFormat::kSafetensors);
  // A header of 640 bytes begins as a pickle does.
  EXPECT_EQ(Detect(LittleEndian(0x0280, 8) + "{" + std::string(639, ' ')).value(), FileFormat::kSafetensors);
  // The magic number in a frame of protocol 4, and as text of protocol 0.
  const std::string framed = "\x80\x04\x95" + LittleEndian(13, 8) + TorchMagic() + ".";
  EXPECT_EQ(Detect(framed).value(), FileFormat::kTorchLegacy);
  EXPECT_EQ(Detect("L119547037146038801333356L\n.").value(), FileFormat::kTorchLegacy);
}

TEST(OpenFileTest, NamesLookAlikes) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a git-lfs pointer"},
      {"  <!DOCTYPE html><html></html>", "an HTML page"},
      {"<HTML>", "an HTML page"},
      {"<?xml version='1.0'?>", "an XML document"},
      {std::string("GGUF\3\0\0\0", 8), "a GGUF file"},
      {"7z\xBC\xAF\x27\x1C rest", "a 7z archive"},
      {"\x1F\x8B\x08 rest", "gzip data"},
      {std::string("\xFD"
                   "7zXZ\0 rest",
                   11),
       "xz data"},
      {"\x28\xB5\x2F\xFD rest", "zstd data"},
      {"BZh91AY", "bzip2 data"},
      {"Rar!\x1A\x07 rest", "a RAR archive"},
      {"\x89HDF\r\n\x1A\n rest", "an HDF5 file"},
      {"\x93NUMPY rest", "a numpy array"},
      {"rootPTMF rest", "a TorchScript mobile file"},
      {"\x08\x07\x12\x07pytorch", "an ONNX model"},
      {"PK\5\6" + std::string(18, '\0'), "an empty zip archive"},
      {"{\"weights\": 1}", "a JSON text"},
      {PickleStream(PickleDict({})), "a pickle that torch.save did not write"},
      {PickleStream("X" + LittleEndian(5000, 4) + std::string(5000, 'x')),
       "a pickle that torch.save did not write"},
  };
  for (const auto& [bytes, what] : cases) {
    const Result<FileFormat> format = Detect(bytes);
    ASSERT_FALSE(format.has_value()) << what;
    EXPECT_EQ(format.error().code, ErrorCode::kUnsupported) << what;
    EXPECT_THAT(format.error().message, HasSubstr("file.pt: " + what));
  }
}

TEST(OpenFileTest, DescribesWhatIsNotKnown) {
  EXPECT_THAT(Detect("").error().message, HasSubstr("an empty file"));
  EXPECT_THAT(Detect(std::string(4096, '\0')).error().message, HasSubstr("begins with zeros only"));
  EXPECT_THAT(Detect("hello, world").error().message, HasSubstr("the bytes 68 65 6c 6c 6f 2c 20 77"));
  EXPECT_EQ(Detect("hello, world").error().code, ErrorCode::kCorrupt);
}

TEST(OpenFileTest, FormatNames) {
  EXPECT_EQ(FileFormatName(FileFormat::kTorchZip), "torch-zip");
  EXPECT_EQ(FileFormatName(FileFormat::kTorchLegacy), "torch-legacy");
  EXPECT_EQ(FileFormatName(FileFormat::kTorchTar), "torch-tar");
  EXPECT_EQ(FileFormatName(FileFormat::kSafetensors), "safetensors");
}

class MalformedTorchTest : public ::testing::TestWithParam<const char*> {};

/// The error of opening the file or, for damage that only shows there, of reading its tensors.
Result<void> OpenAndReadAll(const std::string& bytes) {
  WEIGHTFS_TRY(const Checkpoint checkpoint, ReadCheckpoint(bytes));
  for (const UnsupportedTensor& tensor : checkpoint.unsupported)
    return Fail(ErrorCode::kUnsupported, "file.pt: " + tensor.name + ": " + tensor.reason);
  for (const SourceTensor& tensor : checkpoint.tensors) WEIGHTFS_CHECK(ReadTensor(tensor));
  return {};
}

TEST_P(MalformedTorchTest, IsRefusedWithItsMessage) {
  for (const MalformedCase& malformed :
       LoadMalformedCases(std::string(WEIGHTFS_MALFORMED_DIR "/") + GetParam())) {
    const Result<void> read = OpenAndReadAll(ReadFile(malformed.path));
    ASSERT_FALSE(read.has_value()) << malformed.path;
    EXPECT_EQ(ErrorCodeName(read.error().code), malformed.code)
        << malformed.path << ": " << read.error().message;
    EXPECT_THAT(read.error().message, ::testing::StartsWith("file.pt")) << malformed.path;
    EXPECT_THAT(read.error().message, HasSubstr(malformed.message_contains)) << malformed.path;
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, MalformedTorchTest,
                         ::testing::Values("torch_zip", "torch_legacy", "torch_tar"));

}  // namespace
}  // namespace weightfs::testing
