#include "convert/view/sum_file.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "convert/view/kernels/arithmetic.h"
#include "convert/view/virtual_file.h"

namespace weightfs {
namespace {

/// A block is one read of every term.
constexpr uint64_t kBlockBytes = 256_KiB;

class SumFile final : public RandomAccessFile {
 public:
  SumFile(const TensorView& view, std::vector<VirtualFilePtr> terms, std::shared_ptr<BlockCache> cache)
      : RandomAccessFile(view.pieces()->is_mean ? "a mean" : "a sum", view.stored_size_bytes()),
        terms_(std::move(terms)),
        cache_(std::move(cache)),
        cache_owner_(cache_->NewOwner()),
        dtype_(view.stored_dtype()),
        is_mean_(view.pieces()->is_mean) {}

 protected:
  Status DoReadAt(uint64_t offset_bytes, std::span<std::byte> destination) const override {
    while (!destination.empty()) {
      const uint64_t index = offset_bytes / kBlockBytes, skip = offset_bytes % kBlockBytes;
      const ByteRange range{index * kBlockBytes, std::min(size_bytes(), (index + 1) * kBlockBytes)};
      const auto make = [&](std::span<std::byte> block) { return Make(range, block); };
      WEIGHTFS_TRY(const BlockPtr block, cache_->Get({cache_owner_, index}, range.size(), std::ref(make)));
      const uint64_t part = std::min<uint64_t>(destination.size(), range.size() - skip);
      std::memcpy(destination.data(), block.get() + skip, part);
      destination = destination.subspan(part);
      offset_bytes += part;
    }
    return {};
  }

 private:
  Status Make(ByteRange range, std::span<std::byte> block) const {
    ReadScratch scratch;
    const size_t count = range.size() / UnitBytes(dtype_);
    for (const VirtualFilePtr& term : terms_) {
      WEIGHTFS_TRY(const std::span<const std::byte> bytes, term->Read(range, scratch));
      if (term == terms_.front()) {
        std::memcpy(block.data(), bytes.data(), bytes.size());
      } else {
        AddElements(block.data(), bytes.data(), count, dtype_);
      }
    }
    if (is_mean_) DivideElements(block.data(), count, dtype_, static_cast<double>(terms_.size()));
    return {};
  }

  const std::vector<VirtualFilePtr> terms_;
  const std::shared_ptr<BlockCache> cache_;
  const uint64_t cache_owner_;
  const DType dtype_;
  const bool is_mean_;
};

}  // namespace

Result<FilePtr> MakeSumFile(const TensorView& view, std::shared_ptr<BlockCache> cache) {
  std::vector<VirtualFilePtr> terms;
  for (const PieceMap& term : view.pieces()->terms) {
    WEIGHTFS_TRY(TensorView part, TensorView::FromPieces({{term}, false}, view.stored_dtype(), view.shape()));
    std::vector<TensorView> parts;
    parts.push_back(std::move(part));
    WEIGHTFS_TRY(VirtualFilePtr file, MakeViewFile("", std::move(parts), cache));
    terms.push_back(std::move(file));
  }
  return std::make_shared<SumFile>(view, std::move(terms), std::move(cache));
}

}  // namespace weightfs
