#include "convert/target/npy/npy_file.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

namespace weightfs {
namespace {

constexpr size_t kEncodedNameBytesMax = 250;
constexpr uint64_t kNpyAlignmentBytes = 64;
constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kShortDictionaryBytesMax = 0xffff;

/// Types of less than a byte are served packed, as a flat array of bytes.
Shape NpyShape(const TensorView& view) {
  return BitWidth(view.dtype()) < 8 ? Shape{view.size_bytes()} : view.shape();
}

std::string ShapeText(const Shape& shape) {
  return fmt::format("({}{})", fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
}

/// numpy leaves room for the first extent to grow in place: 21 digits' worth.
size_t GrowthPadding(const Shape& shape) {
  constexpr size_t kGrowthDigits = 21;
  return shape.empty() ? 0 : kGrowthDigits - fmt::formatted_size("{}", shape[0]);
}

/// Bytes of spaces before the final newline. numpy pads by a whole unit where none is needed.
size_t PaddingBytes(size_t unpadded_bytes) {
  return kNpyAlignmentBytes - unpadded_bytes % kNpyAlignmentBytes;
}

}  // namespace

std::string_view NpyDescr(DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return "|b1";
    case DType::kI8:
      return "|i1";
    case DType::kF4:
    case DType::kF6E2M3:
    case DType::kF6E3M2:
    case DType::kU8:
    case DType::kF8E5M2:
    case DType::kF8E4M3:
    case DType::kF8E8M0:
    case DType::kF8E4M3Fnuz:
    case DType::kF8E5M2Fnuz:
      return "|u1";
    case DType::kI16:
      return "<i2";
    case DType::kU16:
    case DType::kBF16:
      return "<u2";
    case DType::kF16:
      return "<f2";
    case DType::kI32:
      return "<i4";
    case DType::kU32:
      return "<u4";
    case DType::kF32:
      return "<f4";
    case DType::kC64:
      return "<c8";
    case DType::kF64:
      return "<f8";
    case DType::kI64:
      return "<i8";
    case DType::kU64:
      return "<u8";
  }
  std::unreachable();
}

std::string NpyHeader(const TensorView& view) {
  const Shape shape = NpyShape(view);
  std::string dictionary = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}",
                                       NpyDescr(view.dtype()), ShapeText(shape));
  dictionary.append(GrowthPadding(shape), ' ');
  // Version 1 has 2 bytes for the length of the dictionary with its padding and newline, version 2 has 4.
  char version = 1;
  size_t fixed_bytes = kMagic.size() + 2 + 2;
  uint64_t length = dictionary.size() + 1 + PaddingBytes(fixed_bytes + dictionary.size() + 1);
  if (length > kShortDictionaryBytesMax) {
    version = 2;
    fixed_bytes += 2;
    length = dictionary.size() + 1 + PaddingBytes(fixed_bytes + dictionary.size() + 1);
  }
  std::string header(kMagic);
  header += {version, '\0'};
  header.append(reinterpret_cast<const char*>(&length), version == 1 ? 2 : 4);
  header += dictionary;
  header.resize(fixed_bytes + length - 1, ' ');
  header += '\n';
  return header;
}

Result<VirtualFilePtr> MakeNpyFile(TensorView view, std::shared_ptr<BlockCache> cache) {
  std::string header = NpyHeader(view);
  std::vector<TensorView> views;
  views.push_back(std::move(view));
  return MakeViewFile(std::move(header), std::move(views), std::move(cache));
}

std::string NpyFileName(std::string_view tensor_name, size_t index) {
  std::string encoded;
  for (size_t i = 0; i < tensor_name.size(); ++i) {
    const char c = tensor_name[i];
    if (c == '/' || c == '%' || c == '\0' || (c == '.' && i == 0))
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    else
      encoded += c;
  }
  if (encoded.size() > kEncodedNameBytesMax) encoded = fmt::format("%tensor-{:05}", index);
  return encoded + ".npy";
}

}  // namespace weightfs
