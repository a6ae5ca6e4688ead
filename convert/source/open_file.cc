#include "convert/source/open_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "convert/base/bytes.h"
#include "convert/pickle/unpickler.h"
#include "convert/source/file_look_alikes.h"
#include "convert/source/safetensors/reader.h"
#include "convert/source/torch_legacy/reader.h"
#include "convert/source/torch_tar/reader.h"
#include "convert/source/torch_zip/reader.h"

namespace weightfs {
namespace {

/// What is looked at to tell formats apart.
constexpr uint64_t kHeadBytes = 1024;
/// A safetensors header is far smaller; text read as a length is far larger.
constexpr uint64_t kHeaderBytesPlausible = uint64_t{1} << 32;

struct Format {
  FileFormat format;
  std::string_view name;
  Result<Checkpoint> (*read)(const FilePtr& file, const SourceContext& context);
};

constexpr Format kFormats[] = {
    {FileFormat::kTorchZip, "torch-zip", &ReadTorchZip},
    {FileFormat::kTorchLegacy, "torch-legacy", &ReadTorchLegacy},
    {FileFormat::kTorchTar, "torch-tar", &ReadTorchTar},
    {FileFormat::kSafetensors, "safetensors", &ReadSafetensors},
};

const Format& FormatOf(FileFormat format) { return *std::ranges::find(kFormats, format, &Format::format); }

bool BeginsWithLegacyMagic(std::string_view head, std::string_view name) {
  const Result<pickle::Tree> tree = pickle::Parse(std::as_bytes(std::span(head)), name, Limits{});
  return tree && IsTorchLegacyMagic(*tree->root());
}

bool LooksLikeSafetensors(std::string_view head) {
  if (head.size() < 9 || head[8] != '{') return false;
  return LoadLittleEndian<uint64_t>(head.data()) < kHeaderBytesPlausible;
}

Result<FileFormat> DetectTar(const RandomAccessFile& file) {
  WEIGHTFS_TRY(const std::vector<TarMember> members, ReadTarMembers(file, kTorchTarMembersMax));
  if (AreTorchTarMembers(members)) return FileFormat::kTorchTar;
  const auto named = [&](std::string_view suffix) {
    return std::ranges::any_of(members,
                               [&](const TarMember& member) { return member.name.ends_with(suffix); });
  };
  if (named("model_config.yaml") && named("model_weights.ckpt"))
    return Fail(ErrorCode::kUnsupported,
                fmt::format("{}: a NeMo archive (.nemo); expected a checkpoint file", file.name()),
                "unpack it (tar xf FILE) and use its model_weights.ckpt");
  return Fail(ErrorCode::kUnsupported,
              fmt::format("{}: a tar archive without the members of a torch checkpoint; expected storages, "
                          "tensors and pickle",
                          file.name()),
              "if the checkpoint is inside the archive, unpack it first");
}

}  // namespace

std::string_view FileFormatName(FileFormat format) { return FormatOf(format).name; }

Result<FileFormat> DetectFileFormat(const FilePtr& file) {
  std::string head(std::min(kHeadBytes, file->size_bytes()), '\0');
  WEIGHTFS_CHECK(file->ReadAt(0, std::as_writable_bytes(std::span(head))));
  // The order of torch.load; a file that is valid in two formats is what torch takes it for.
  if (head.starts_with("PK\x03\x04")) return FileFormat::kTorchZip;
  WEIGHTFS_TRY(const bool tar, LooksLikeTar(*file));
  if (tar) return DetectTar(*file);
  if (BeginsWithLegacyMagic(head, file->name())) return FileFormat::kTorchLegacy;
  if (LooksLikeSafetensors(head)) return FileFormat::kSafetensors;
  return std::unexpected(DescribeLookAlike(head, file->name()));
}

Result<Checkpoint> OpenCheckpointFile(const FilePtr& file, const SourceContext& context) {
  WEIGHTFS_TRY(const FileFormat format, DetectFileFormat(file));
  return FormatOf(format).read(file, context);
}

Result<TorchObject> OpenTorchObject(const FilePtr& file, const SourceContext& context) {
  WEIGHTFS_TRY(const FileFormat format, DetectFileFormat(file));
  if (format == FileFormat::kTorchZip) return ReadTorchZipObject(file, context);
  if (format == FileFormat::kTorchLegacy) return ReadTorchLegacyObject(file, context);
  return Fail(ErrorCode::kUnsupported, fmt::format("{}: a {} file; expected one that torch.save wrote",
                                                   file->name(), FileFormatName(format)));
}

}  // namespace weightfs
