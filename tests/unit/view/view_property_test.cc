// Property: any range of any file of random views equals the slice of what a dense evaluator gives.
// RapidCheck prints its seed, and shrinks what fails; RC_PARAMS="seed=N" repeats a run.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <fstream>
#include <random>
#include <vector>

#include "convert/io/local_file.h"
#include "convert/view/virtual_file.h"
#include "tests/support/dense_view.h"
#include "tests/support/faulty_file.h"
#include "tests/support/temp_dir.h"

namespace weightfs {
namespace {

using testing::DenseTensor;
using testing::FaultyFile;

constexpr DType kCastable[] = {DType::kF64, DType::kF32, DType::kF16, DType::kBF16};

/// From `[begin, end)`, all of it from the first case on.
uint64_t Draw(uint64_t begin, uint64_t end) {
  return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange<uint64_t>(begin, end));
}

std::string DrawBytes(uint64_t size) {
  // One draw, not one per byte: bytes need no shrinking.
  std::mt19937_64 random(*rc::gen::arbitrary<uint64_t>());
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

ElementOps DrawOps(DType dtype) {
  ElementOps ops;
  const bool complex = dtype == DType::kC64;
  const uint32_t component_bytes = complex ? 4 : UnitBytes(dtype);
  if (Draw(0, 3) == 0) ops.swap_bytes = static_cast<uint8_t>(component_bytes);
  if (Draw(0, 3) == 0 && (complex || IsCastable(dtype)))
    ops.sign_flip = complex ? static_cast<SignFlip>(Draw(1, 4)) : SignFlip::kAll;
  return ops;
}

/// Strides of `shape`: packed, its modes in another order, or anything.
std::vector<uint64_t> DrawStrides(const std::vector<uint64_t>& shape, bool packed_only) {
  std::vector<size_t> order(shape.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  const uint64_t way = packed_only ? 0 : Draw(0, 4);
  if (way > 0)
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[Draw(0, i)]);
  std::vector<uint64_t> strides(shape.size());
  uint64_t stride = 1;
  for (size_t i = order.size(); i-- > 0; stride *= std::max<uint64_t>(1, shape[order[i]])) {
    if (way > 1) stride += Draw(0, 3);  // A gap: a slice of something larger.
    strides[order[i]] = way == 3 && Draw(0, 2) == 0 ? Draw(0, 20) : stride;
  }
  return strides;
}

/// A tensor of any type, layout and operations, with `storage` just large enough, or a little larger.
DenseTensor DrawTensor(uint64_t extent_max) {
  DenseTensor tensor;
  tensor.dtype = Draw(0, 2) == 0 ? static_cast<DType>(Draw(0, kDTypeCount)) : kCastable[Draw(0, 4)];
  const bool six_bits = tensor.dtype == DType::kF6E2M3 || tensor.dtype == DType::kF6E3M2;
  if (six_bits) tensor.dtype = DType::kF4;
  tensor.cast = IsCastable(tensor.dtype) && Draw(0, 2) == 0 ? kCastable[Draw(0, 4)] : tensor.dtype;
  tensor.shape.resize(Draw(0, 5));
  for (uint64_t& extent : tensor.shape) extent = Draw(Draw(0, 10) == 0 ? 0 : 1, extent_max + 1);
  tensor.strides = DrawStrides(tensor.shape, false);
  tensor.offset = Draw(0, 9);
  tensor.ops = DrawOps(tensor.dtype);
  uint64_t last = tensor.offset;
  for (size_t i = 0; i < tensor.shape.size(); ++i)
    if (tensor.shape[i] > 0) last += (tensor.shape[i] - 1) * tensor.strides[i];
  tensor.storage = DrawBytes((last + 1) * UnitBytes(tensor.dtype) + Draw(0, 10));
  return tensor;
}

/// Tensors whose storages lie one after the other in one file, some of them sharing one.
struct DrawnFile {
  std::string source;
  std::vector<DenseTensor> tensors;
  std::vector<uint64_t> storage_begins;
  std::string prefix, expected;
};

DrawnFile DrawFile(uint64_t tensors_max, uint64_t extent_max) {
  DrawnFile drawn;
  drawn.prefix = DrawBytes(Draw(0, 40));
  drawn.expected = drawn.prefix;
  const uint64_t count = Draw(0, tensors_max + 1);
  for (uint64_t i = 0; i < count; ++i) {
    if (i > 0 && Draw(0, 5) == 0) {
      // The same tensor again, perhaps cast otherwise.
      drawn.tensors.push_back(drawn.tensors[Draw(0, i)]);
      DenseTensor& again = drawn.tensors.back();
      if (IsCastable(again.dtype)) again.cast = kCastable[Draw(0, 4)];
    } else {
      drawn.tensors.push_back(DrawTensor(extent_max));
    }
    drawn.storage_begins.push_back(drawn.source.size());
    drawn.source += drawn.tensors.back().storage;
    drawn.expected += DenseBytes(drawn.tensors.back());
  }
  return drawn;
}

VirtualFilePtr MakeFile(const DrawnFile& drawn, FilePtr source, uint64_t cache_bytes) {
  std::vector<TensorView> views;
  for (size_t i = 0; i < drawn.tensors.size(); ++i) {
    const auto storage =
        MakeSubFile(source, drawn.storage_begins[i], drawn.tensors[i].storage.size(), "storage").value();
    const auto view = drawn.tensors[i].View(storage);
    RC_ASSERT(view.has_value());
    views.push_back(*view);
  }
  return MakeViewFile(drawn.prefix, std::move(views), std::make_shared<BlockCache>(cache_bytes)).value();
}

void Log(const DrawnFile& drawn) {
  for (const DenseTensor& tensor : drawn.tensors) RC_LOG() << tensor.Describe() << "\n";
}

void CheckRanges(const DrawnFile& drawn, const VirtualFile& file, int range_count) {
  RC_ASSERT(file.size_bytes() == drawn.expected.size());
  ReadScratch scratch;
  for (int i = 0; i < range_count; ++i) {
    const uint64_t begin = i == 0 ? 0 : Draw(0, drawn.expected.size() + 1);
    const uint64_t longest = std::min(drawn.expected.size() - begin, kReadBytesMax);
    const uint64_t end = begin + (i == 0 ? longest : Draw(0, longest + 1));
    const auto part = file.Read({begin, end}, scratch);
    RC_ASSERT(part.has_value());
    RC_ASSERT(part->size() == end - begin);
    RC_ASSERT(std::memcmp(part->data(), drawn.expected.data() + begin, end - begin) == 0);
  }
}

uint64_t DrawCacheBytes() { return uint64_t{1} << Draw(0, 24); }

RC_GTEST_PROP(ViewProperty, AnyRangeOfSmallViews, ()) {
  const DrawnFile drawn = DrawFile(8, 6);
  Log(drawn);
  CheckRanges(drawn, *MakeFile(drawn, MakeMemoryFile(drawn.source, "memory"), DrawCacheBytes()), 12);
}

RC_GTEST_PROP(ViewProperty, AnyRangeOfLargerViews, ()) {
  const DrawnFile drawn = DrawFile(2, 22);
  Log(drawn);
  CheckRanges(drawn, *MakeFile(drawn, MakeMemoryFile(drawn.source, "memory"), DrawCacheBytes()), 12);
}

RC_GTEST_PROP(ViewProperty, AnyRangeOfAFileOnDisk, ()) {
  const DrawnFile drawn = DrawFile(6, 12);
  Log(drawn);
  const testing::TempDir folder;
  const std::string path = (folder.path() / "source").string();
  std::ofstream(path, std::ios::binary) << drawn.source;
  const auto source_io = *rc::gen::element(SourceIo::kAuto, SourceIo::kDirect, SourceIo::kBuffered);
  const auto source = LocalFile::Open(path, "source", {.source_io = source_io});
  RC_ASSERT(source.has_value());
  CheckRanges(drawn, *MakeFile(drawn, *source, DrawCacheBytes()), 12);
}

// Whichever read of the source fails, the reply is an error or right; the next try succeeds.
RC_GTEST_PROP(ViewProperty, AFaultIsAnError, ()) {
  const DrawnFile drawn = DrawFile(6, 8);
  Log(drawn);
  FaultyFile::Faults faults;
  faults.fail_begin = Draw(0, 20);
  faults.fail_end = faults.fail_begin + 1;
  const auto source = std::make_shared<FaultyFile>(MakeMemoryFile(drawn.source, "memory"), faults);
  const VirtualFilePtr file = MakeFile(drawn, source, DrawCacheBytes());
  ReadScratch scratch;
  for (int i = 0; i < 6; ++i) {
    const uint64_t begin = Draw(0, drawn.expected.size() + 1);
    const uint64_t longest = std::min(drawn.expected.size() - begin, kReadBytesMax);
    const uint64_t end = begin + Draw(0, longest + 1);
    const uint64_t reads_before = source->reads();
    auto part = file->Read({begin, end}, scratch);
    const bool hit = reads_before <= faults.fail_begin && faults.fail_begin < source->reads();
    RC_ASSERT(part.has_value() == !hit);
    if (!part) part = file->Read({begin, end}, scratch);
    RC_ASSERT(part.has_value());
    RC_ASSERT(std::memcmp(part->data(), drawn.expected.data() + begin, end - begin) == 0);
  }
}

}  // namespace
}  // namespace weightfs
