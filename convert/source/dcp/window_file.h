/// \file
/// Small reads of a large file, many at once.
#pragma once

#include <array>
#include <string>

#include "convert/io/random_access_file.h"

namespace weightfs {

/// The bytes of `file`, read through two windows of a few KiB: small reads near the last ones cost no read.
///
/// Made for walking payloads in file order: the directory of one and the head of the next lie in one window,
/// the head of the one before in the other. Used by one thread, unlike other files; nothing may keep it.
class WindowFile final : public RandomAccessFile {
 public:
  explicit WindowFile(FilePtr file)
      : RandomAccessFile(file->name(), file->size_bytes()), file_(std::move(file)) {}

 protected:
  Status DoReadAt(uint64_t offset_bytes, std::span<std::byte> destination) const override;

 private:
  struct Window {
    uint64_t begin = 0;
    std::string bytes;
  };

  const FilePtr file_;
  mutable std::array<Window, 2> windows_;
  mutable size_t oldest_ = 0;
};

}  // namespace weightfs
