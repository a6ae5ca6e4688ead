#include "convert/source/torch_zip/deflated_member.h"

#include <fmt/format.h>
#include <zip.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "convert/source/torch_zip/one_member_archive.h"

namespace weightfs {
namespace {

constexpr std::string_view kSaveAgain =
    "python -c \"import sys, torch; torch.save(torch.load(sys.argv[1], weights_only=False), sys.argv[2])\" "
    "IN OUT";

/// The content of one deflated member. Immutable; thread-safe.
class DeflatedFile final : public RandomAccessFile {
 public:
  DeflatedFile(FilePtr archive, const ZipMember& member, std::string name, std::shared_ptr<BlockCache> cache)
      : RandomAccessFile(std::move(name), member.size_bytes),
        archive_(std::move(archive)),
        member_(member),
        cache_(std::move(cache)),
        owner_(cache_->NewOwner()) {}

  const void* wait_group() const override { return archive_->wait_group(); }

 protected:
  Status DoReadAt(uint64_t offset_bytes, std::span<std::byte> destination) const override {
    if (destination.empty()) return {};
    WEIGHTFS_TRY(const BlockPtr block,
                 cache_->Get({owner_, 0}, size_bytes(), [&](std::span<std::byte> bytes) {
                   return InflateMember(*archive_, member_, name(), bytes);
                 }));
    std::memcpy(destination.data(), block.get() + offset_bytes, destination.size());
    return {};
  }

 private:
  const FilePtr archive_;
  const ZipMember member_;
  const std::shared_ptr<BlockCache> cache_;
  const uint64_t owner_;
};

std::string Message(zip_error_t* error) {
  std::string text = zip_error_strerror(error);
  zip_error_fini(error);
  return text;
}

/// Reads all of the open member: libzip compares size and CRC when it meets the end.
Status ReadAll(zip_file_t* member, std::string_view name, std::span<std::byte> destination) {
  size_t done = 0;
  while (true) {
    std::byte beyond;
    const bool full = done == destination.size();
    const std::span<std::byte> rest = full ? std::span(&beyond, 1) : destination.subspan(done);
    const zip_int64_t count = zip_fread(member, rest.data(), rest.size());
    if (count < 0)
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: deflated data that does not decode ({}); expected {} bytes", name,
                              Message(zip_file_get_error(member)), destination.size()));
    if (full && count == 0) return {};
    if (full || count == 0)
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: deflated data of {} than {} bytes; expected that many", name,
                              full ? "more" : "less", destination.size()));
    done += static_cast<size_t>(count);
  }
}

}  // namespace

Result<FilePtr> MakeDeflatedFile(FilePtr archive, const ZipMember& member, std::string name,
                                 std::shared_ptr<BlockCache> cache) {
  if (member.size_bytes > cache->capacity_bytes())
    return Fail(ErrorCode::kLimitExceeded,
                fmt::format("{}: deflated, {} bytes when inflated; the cache holds {}", name,
                            member.size_bytes, cache->capacity_bytes()),
                fmt::format("give --cache {}MiB, or save without compression: {}",
                            (member.size_bytes + 1_MiB - 1) / 1_MiB, kSaveAgain));
  if (member.compressed_bytes > OneMemberArchive::kCompressedBytesMax ||
      member.size_bytes > OneMemberArchive::kCompressedBytesMax)
    return Fail(ErrorCode::kLimitExceeded, fmt::format("{}: a deflated member of 4 GiB or more", name),
                fmt::format("save without compression: {}", kSaveAgain));
  return std::make_shared<DeflatedFile>(std::move(archive), member, std::move(name), std::move(cache));
}

Status InflateMember(const RandomAccessFile& archive, const ZipMember& member, std::string_view name,
                     std::span<std::byte> destination) {
  OneMemberArchive source(archive, member);
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* zip_source = zip_source_function_create(&OneMemberArchive::Callback, &source, &error);
  if (zip_source == nullptr) return Fail(ErrorCode::kInternal, fmt::format("{}: {}", name, Message(&error)));
  zip_t* zip = zip_open_from_source(zip_source, ZIP_RDONLY, &error);
  if (zip == nullptr) {
    zip_source_free(zip_source);
    if (!source.status()) return source.status();
    return Fail(ErrorCode::kCorrupt, fmt::format("{}: {}", name, Message(&error)));
  }
  zip_error_fini(&error);
  Status status;
  if (zip_file_t* file = zip_fopen_index(zip, 0, 0); file != nullptr) {
    status = ReadAll(file, name, destination);
    zip_fclose(file);
  } else {
    status = Fail(ErrorCode::kCorrupt, fmt::format("{}: {}", name, zip_strerror(zip)));
  }
  zip_discard(zip);
  if (!source.status()) return source.status();
  return status;
}

}  // namespace weightfs
