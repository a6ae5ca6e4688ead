#include "convert/source/dcp/zstd_file.h"

#include <fmt/format.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "convert/base/bytes.h"

namespace weightfs {
namespace {

constexpr size_t kInputBytes = 256_KiB;
constexpr int kWindowLogMax = 26;

struct FreeContext {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

/// Decompresses all of `compressed`, piece by piece, into what `output` hands out: where the next bytes go,
/// never empty.
template <typename Output>
Status Decompress(const RandomAccessFile& compressed, const Output& output) {
  const std::unique_ptr<ZSTD_DCtx, FreeContext> context(ZSTD_createDCtx());
  if (context == nullptr ||
      ZSTD_isError(ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kWindowLogMax)))
    return FailIo(ENOMEM, compressed.name());
  std::vector<std::byte> input(kInputBytes);
  size_t expected = 1;  // Bytes that the frame still needs; 0 at the end of one.
  for (uint64_t at = 0; at < compressed.size_bytes();) {
    const auto count = static_cast<size_t>(std::min<uint64_t>(input.size(), compressed.size_bytes() - at));
    WEIGHTFS_CHECK(compressed.ReadAt(at, std::span(input).first(count)));
    at += count;
    ZSTD_inBuffer in{input.data(), count, 0};
    for (bool is_full = false; in.pos < in.size || is_full;) {
      WEIGHTFS_TRY(const std::span<std::byte> room, output(0));
      ZSTD_outBuffer out{room.data(), room.size(), 0};
      expected = ZSTD_decompressStream(context.get(), &out, &in);
      if (ZSTD_getErrorCode(expected) == ZSTD_error_frameParameter_windowTooLarge)
        return Fail(ErrorCode::kLimitExceeded,
                    fmt::format("{}: a zstd frame that needs a window of more than {} bytes",
                                compressed.name(), uint64_t{1} << kWindowLogMax));
      if (ZSTD_isError(expected))
        return Fail(ErrorCode::kCorrupt,
                    fmt::format("{}: data that does not decode ({}); expected zstd frames", compressed.name(),
                                ZSTD_getErrorName(expected)));
      is_full = out.pos == out.size;
      WEIGHTFS_TRY(const std::span<std::byte> next, output(out.pos));
      (void)next;
      // At the end of a frame nothing is held back.
      if (expected == 0 && in.pos == in.size) break;
    }
  }
  if (expected == 0) return {};
  return Fail(ErrorCode::kCorrupt, fmt::format("{}: {} bytes that end within a zstd frame; expected its end",
                                               compressed.name(), compressed.size_bytes()));
}

/// Immutable; thread-safe.
class ZstdFile final : public RandomAccessFile {
 public:
  ZstdFile(FilePtr compressed, uint64_t size_bytes, std::string name, std::shared_ptr<BlockCache> cache)
      : RandomAccessFile(std::move(name), size_bytes),
        compressed_(std::move(compressed)),
        cache_(std::move(cache)),
        owner_(cache_->NewOwner()) {}

  const void* wait_group() const override { return compressed_->wait_group(); }

 protected:
  Status DoReadAt(uint64_t offset_bytes, std::span<std::byte> destination) const override {
    if (destination.empty()) return {};
    WEIGHTFS_TRY(const BlockPtr block, cache_->Get({owner_, 0}, size_bytes(),
                                                   [&](std::span<std::byte> bytes) { return Fill(bytes); }));
    std::memcpy(destination.data(), block.get() + offset_bytes, destination.size());
    return {};
  }

 private:
  Status Fill(std::span<std::byte> bytes) const {
    uint64_t done = 0;
    std::byte beyond;
    const auto changed = [&](std::string_view what) {
      return Fail(ErrorCode::kCorrupt, fmt::format("{}: {} bytes when decompressed; expected {}, as before",
                                                   name(), what, bytes.size()));
    };
    WEIGHTFS_CHECK(Decompress(*compressed_, [&](size_t count) -> Result<std::span<std::byte>> {
      done += count;
      if (done > bytes.size()) return changed("more");
      return done < bytes.size() ? bytes.subspan(done) : std::span(&beyond, 1);
    }));
    return done == bytes.size() ? Status() : changed("fewer");
  }

  const FilePtr compressed_;
  const std::shared_ptr<BlockCache> cache_;
  const uint64_t owner_;
};

}  // namespace

Result<FilePtr> MakeZstdFile(FilePtr compressed, std::string name, std::shared_ptr<BlockCache> cache) {
  uint64_t size_bytes = 0;
  std::vector<std::byte> scratch(ZSTD_DStreamOutSize());
  WEIGHTFS_CHECK(Decompress(*compressed, [&](size_t count) -> Result<std::span<std::byte>> {
    size_bytes += count;
    if (size_bytes > cache->capacity_bytes())
      return Fail(ErrorCode::kLimitExceeded,
                  fmt::format("{}: compressed, more than {} bytes when decompressed; the cache holds no more",
                              name, cache->capacity_bytes()),
                  "give a larger --cache than the largest part of a tensor, or save without compression");
    return std::span(scratch);
  }));
  return std::make_shared<ZstdFile>(std::move(compressed), size_bytes, std::move(name), std::move(cache));
}

}  // namespace weightfs
