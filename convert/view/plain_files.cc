#include <utility>

#include "convert/view/virtual_file.h"

namespace weightfs {
namespace {

class PassThroughFile final : public VirtualFile {
 public:
  explicit PassThroughFile(FilePtr file) : VirtualFile(file->size_bytes()), file_(std::move(file)) {}

  Result<std::span<const std::byte>> Read(ByteRange range, ReadScratch& scratch) const override {
    WEIGHTFS_CHECK(CheckReadRange(range));
    return file_->ReadWithin(range, scratch.reply());
  }
  const void* wait_group() const override { return file_->wait_group(); }

 private:
  FilePtr file_;
};

class TextFile final : public VirtualFile {
 public:
  explicit TextFile(std::string bytes) : VirtualFile(bytes.size()), bytes_(std::move(bytes)) {}

  Result<std::span<const std::byte>> Read(ByteRange range, ReadScratch&) const override {
    WEIGHTFS_CHECK(CheckReadRange(range));
    return std::as_bytes(std::span<const char>(bytes_)).subspan(range.begin, range.size());
  }
  const void* wait_group() const override { return nullptr; }

 private:
  std::string bytes_;
};

}  // namespace

VirtualFilePtr MakePassThroughFile(FilePtr file) {
  return std::make_shared<PassThroughFile>(std::move(file));
}

VirtualFilePtr MakeTextFile(std::string bytes) { return std::make_shared<TextFile>(std::move(bytes)); }

}  // namespace weightfs
