#include "convert/view/tensor_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "convert/view/wait_group.h"

namespace weightfs {
namespace {

bool IsSixBit(DType dtype) { return dtype == DType::kF6E2M3 || dtype == DType::kF6E3M2; }

/// Bytes of what a byte swap reverses: an element, or one half of a complex element.
uint32_t ComponentBytes(DType dtype) { return dtype == DType::kC64 ? 4 : UnitBytes(dtype); }

/// Bytes of `count` elements, or nothing when they do not fit 64 bits or do not fill whole bytes.
std::optional<uint64_t> PackedBytes(uint64_t count, DType dtype) {
  const unsigned __int128 bits = static_cast<unsigned __int128>(count) * BitWidth(dtype);
  if (bits % 8 != 0 || bits / 8 > UINT64_MAX) return std::nullopt;
  return static_cast<uint64_t>(bits / 8);
}

struct Size {
  uint64_t element_count;
  uint64_t bytes;
};

/// The size of `dtype` of `shape`.
/// \error `code`  it does not fit 64 bits, or does not fill whole bytes
Result<Size> SizeOf(const Shape& shape, DType dtype, ErrorCode code) {
  const std::optional<uint64_t> count = CheckedProduct(shape);
  const std::optional<uint64_t> bytes = count ? PackedBytes(*count, dtype) : std::nullopt;
  if (bytes) return Size{*count, *bytes};
  return Fail(code, fmt::format("{} of shape [{}] does not fill a number of bytes that fits 64 bits",
                                SafetensorsName(dtype), fmt::join(shape, ", ")));
}

Status CheckOps(const ElementOps& ops, DType dtype) {
  if (ops.swap_bytes != 1 && ops.swap_bytes != ComponentBytes(dtype))
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("bytes swapped in groups of {}; {} needs groups of {}", ops.swap_bytes,
                            SafetensorsName(dtype), ComponentBytes(dtype)));
  const bool complex = dtype == DType::kC64;
  if (ops.sign_flip == SignFlip::kNone || complex) return {};
  if (ops.sign_flip != SignFlip::kAll)
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("a conjugate of {}; expected a complex type", SafetensorsName(dtype)));
  // An integer is negated by arithmetic, not by a bit, and torch sets its lazy bit on parts of complex
  // tensors only.
  if (!IsCastable(dtype))
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("a lazy negation of {}; expected f16, bf16, f32, f64 or complex64",
                            SafetensorsName(dtype)));
  return {};
}

std::string CastName(DType dtype) {
  std::string name(SafetensorsName(dtype));
  for (char& c : name) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return name;
}

Status CheckArithmetic(DType dtype, std::string_view what, bool is_late) {
  if (!IsCastable(dtype))
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{} {}; expected f64, f32, f16 or bf16", SafetensorsName(dtype), what));
  if (is_late)
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("elements {} after arithmetic; expected at most one scale, then one term", what));
  return {};
}

}  // namespace

uint32_t UnitBytes(DType dtype) { return std::max<uint32_t>(1, BitWidth(dtype) / 8); }

Result<TensorView> TensorView::Make(FilePtr storage, Layout layout, DType dtype, Shape shape,
                                    ElementOps ops) {
  WEIGHTFS_CHECK(CheckOps(ops, dtype));
  WEIGHTFS_TRY(const Size size, SizeOf(shape, dtype, ErrorCode::kCorrupt));
  if (layout.unit_bytes() != UnitBytes(dtype) || layout.unit_count() != size.bytes / UnitBytes(dtype))
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{} of shape [{}] has {} bytes; its layout has {} units of {} bytes",
                            SafetensorsName(dtype), fmt::join(shape, ", "), size.bytes, layout.unit_count(),
                            layout.unit_bytes()));
  if (IsSixBit(dtype) && !layout.contiguous())
    return Fail(ErrorCode::kCorrupt, fmt::format("{} elements apart from one another; expected them packed",
                                                 SafetensorsName(dtype)));
  if (layout.span_bytes().end > storage->size_bytes())
    return Fail(ErrorCode::kCorrupt,
                fmt::format("bytes {} to {} of a storage that has {}", layout.span_bytes().begin,
                            layout.span_bytes().end, storage->size_bytes()));
  TensorView view;
  view.storage_ = std::move(storage);
  view.layout_ = std::move(layout);
  view.shape_ = std::move(shape);
  view.ops_ = ops;
  view.dtype_ = view.stored_dtype_ = dtype;
  view.element_count_ = size.element_count;
  view.size_bytes_ = size.bytes;
  return view;
}

Result<TensorView> TensorView::FromPieces(ViewPieces pieces, DType dtype, Shape shape, ElementOps ops) {
  WEIGHTFS_TRY(const Size size, SizeOf(shape, dtype, ErrorCode::kLimitExceeded));
  if (pieces.terms.size() == 1)
    if (std::optional<Layout> layout = pieces.terms[0].AsLayout())
      return Make(pieces.terms[0].pieces()[0].storage, *std::move(layout), dtype, std::move(shape), ops);
  TensorView view;
  view.pieces_ = std::make_shared<const ViewPieces>(std::move(pieces));
  view.shape_ = std::move(shape);
  view.ops_ = ops;
  view.dtype_ = view.stored_dtype_ = dtype;
  view.element_count_ = size.element_count;
  view.size_bytes_ = size.bytes;
  return view;
}

std::vector<PieceMap> TensorView::Terms() const {
  if (pieces_ != nullptr) return pieces_->terms;
  std::vector<PieceMap> terms;
  terms.push_back(PieceMap::FromLayout(storage_, layout_));
  return terms;
}

Result<TensorView> TensorView::Scale(double factor) const {
  WEIGHTFS_CHECK(CheckArithmetic(dtype_, "scaled", !arithmetic_.is_none()));
  TensorView view = *this;
  view.arithmetic_.scale = factor;
  return view;
}

Result<TensorView> TensorView::AddScalar(double term) const {
  WEIGHTFS_CHECK(CheckArithmetic(dtype_, "added to", arithmetic_.add.has_value()));
  TensorView view = *this;
  view.arithmetic_.add = term;
  return view;
}

Result<TensorView> TensorView::Cast(DType to) const {
  if (to == dtype_) return *this;
  if (!IsCastable(dtype_) || !IsCastable(to))
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("a cast from {} to {}; expected f64, f32, f16 or bf16", SafetensorsName(dtype_),
                            SafetensorsName(to)));
  const std::optional<uint64_t> size_bytes = PackedBytes(element_count_, to);
  if (!size_bytes)
    return Fail(ErrorCode::kLimitExceeded, fmt::format("{} elements as {} do not fit 64 bits of bytes",
                                                       element_count_, SafetensorsName(to)));
  TensorView view = *this;
  view.dtype_ = to;
  view.size_bytes_ = *size_bytes;
  return view;
}

uint64_t TensorView::stored_size_bytes() const {
  if (pieces_ != nullptr) return element_count_ * UnitBytes(stored_dtype_);
  return layout_.unit_count() * layout_.unit_bytes();
}

const void* TensorView::wait_group(const void* several) const {
  if (pieces_ == nullptr) return storage_ != nullptr ? storage_->wait_group() : nullptr;
  const void* common = nullptr;
  for (const PieceMap& term : pieces_->terms)
    for (const Piece& piece : term.pieces())
      common = CommonWaitGroup(common, piece.storage->wait_group(), several);
  return common;
}

std::optional<ByteRange> TensorView::IdentityRange() const {
  if (pieces_ != nullptr || dtype_ != stored_dtype_ || ops_ != ElementOps{} || !arithmetic_.is_none() ||
      !layout_.contiguous())
    return std::nullopt;
  return layout_.span_bytes();
}

std::vector<std::string> TensorView::Operations() const {
  std::vector<std::string> operations;
  if (ops_.swap_bytes != 1) operations.emplace_back("byteswap");
  if (ops_.sign_flip == SignFlip::kAll || ops_.sign_flip == SignFlip::kReal) operations.emplace_back("neg");
  if (ops_.sign_flip == SignFlip::kImaginary || ops_.sign_flip == SignFlip::kReal)
    operations.emplace_back("conj");
  if (pieces_ != nullptr && pieces_->terms.size() > 1) {
    operations.push_back(fmt::format("{} of {}", pieces_->is_mean ? "mean" : "sum", pieces_->terms.size()));
  } else if (pieces_ != nullptr) {
    const size_t count = pieces_->terms[0].pieces().size();
    operations.push_back(fmt::format("{} piece{}", count, count == 1 ? "" : "s"));
  } else if (!layout_.contiguous()) {
    operations.emplace_back("strided");
  }
  if (dtype_ != stored_dtype_)
    operations.push_back(fmt::format("cast {} to {}", CastName(stored_dtype_), CastName(dtype_)));
  if (arithmetic_.scale) operations.push_back(fmt::format("times {}", *arithmetic_.scale));
  if (arithmetic_.add) operations.push_back(fmt::format("plus {}", *arithmetic_.add));
  return operations;
}

bool TensorView::IsAliasOf(const TensorView& other) const {
  if (size_bytes_ == 0 || size_bytes_ != other.size_bytes_ || dtype_ != other.dtype_ ||
      stored_dtype_ != other.stored_dtype_ || ops_ != other.ops_ || arithmetic_ != other.arithmetic_)
    return false;
  if (pieces_ == nullptr && other.pieces_ == nullptr) {
    // The same layout, from its first unit on.
    if (layout_.unit_bytes() != other.layout_.unit_bytes() ||
        layout_.unit_count() != other.layout_.unit_count() ||
        !std::ranges::equal(layout_.modes(), other.layout_.modes()))
      return false;
    const RandomAccessFile::Location a = OriginOf(storage_), b = OriginOf(other.storage_);
    return a.file == b.file &&
           a.offset_bytes + layout_.offset_bytes() == b.offset_bytes + other.layout_.offset_bytes();
  }
  const bool is_mean = pieces_ != nullptr && pieces_->is_mean;
  const bool is_other_mean = other.pieces_ != nullptr && other.pieces_->is_mean;
  const std::vector<PieceMap> a = Terms(), b = other.Terms();
  return is_mean == is_other_mean && std::ranges::equal(a, b, [](const PieceMap& x, const PieceMap& y) {
           return SameUnits(x, y, Limits{}.view_pieces_max);
         });
}

}  // namespace weightfs
