// The read engine: what a view file returns, how it reads its sources, and what it does when they fail.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "convert/view/virtual_file.h"
#include "tests/support/dense_view.h"
#include "tests/support/faulty_file.h"

namespace weightfs {
namespace {

using testing::DenseTensor;
using testing::FaultyFile;

std::string RandomBytes(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

std::string_view Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::shared_ptr<BlockCache> Cache(uint64_t capacity_bytes = 64_MiB) {
  return std::make_shared<BlockCache>(capacity_bytes);
}

/// The bytes of `file` read front to back in requests of `step` bytes.
std::string ReadAll(const VirtualFile& file, ReadScratch& scratch, uint64_t step = kReadBytesMax) {
  std::string bytes;
  while (bytes.size() < file.size_bytes()) {
    const ByteRange range{bytes.size(), std::min<uint64_t>(file.size_bytes(), bytes.size() + step)};
    const auto part = file.Read(range, scratch);
    if (!part || part->size() != range.size()) {
      ADD_FAILURE() << range.begin << ": " << (part ? "short" : part.error().message);
      return bytes;
    }
    bytes += Text(*part);
  }
  return bytes;
}

/// A tensor that is packed from `offset_bytes` on; `storage` is not set.
DenseTensor Packed(DType dtype, std::vector<uint64_t> shape, uint64_t offset_bytes, DType cast) {
  DenseTensor tensor{.dtype = dtype, .cast = cast, .shape = shape, .strides = shape};
  uint64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0; stride *= shape[i]) tensor.strides[i] = stride;
  tensor.offset = offset_bytes / UnitBytes(dtype);
  return tensor;
}

/// A prefix and tensors over one storage, with the bytes that they must give.
struct Fixture {
  std::string storage;
  std::string prefix = "a header of some length";
  std::vector<DenseTensor> tensors;

  std::string Expected() const {
    std::string bytes = prefix;
    for (DenseTensor tensor : tensors) {
      tensor.storage = storage;
      bytes += DenseBytes(tensor);
    }
    return bytes;
  }
  VirtualFilePtr Make(FilePtr file, std::shared_ptr<BlockCache> cache = Cache()) const {
    std::vector<TensorView> views;
    for (const DenseTensor& tensor : tensors) views.push_back(tensor.View(file).value());
    return MakeViewFile(prefix, std::move(views), std::move(cache)).value();
  }
  FilePtr Memory() const { return MakeMemoryFile(storage, "storage"); }
  std::shared_ptr<FaultyFile> Counted() const {
    return std::make_shared<FaultyFile>(Memory(), FaultyFile::Faults{});
  }
};

/// One tensor of every way of being produced.
Fixture Mixed() {
  Fixture f;
  f.storage = RandomBytes(4096, 1);
  f.tensors = {Packed(DType::kF16, {5}, 8, DType::kF16),    Packed(DType::kF16, {7}, 18, DType::kF16),
               Packed(DType::kBF16, {9}, 101, DType::kF32), Packed(DType::kF32, {0, 3}, 0, DType::kF32),
               Packed(DType::kF64, {3}, 64, DType::kF16),   Packed(DType::kU8, {}, 77, DType::kU8),
               Packed(DType::kC64, {3}, 200, DType::kC64),  Packed(DType::kF32, {6}, 300, DType::kBF16)};
  f.tensors[6].ops = {.swap_bytes = 4, .sign_flip = SignFlip::kImaginary};
  f.tensors[7].ops = {.swap_bytes = 4, .sign_flip = SignFlip::kAll};
  DenseTensor transposed{
      .dtype = DType::kF16, .cast = DType::kF32, .shape = {4, 3}, .strides = {1, 5}, .offset = 40};
  DenseTensor repeated{
      .dtype = DType::kI32, .cast = DType::kI32, .shape = {3, 2}, .strides = {0, 1}, .offset = 9};
  f.tensors.push_back(transposed);
  f.tensors.push_back(repeated);
  return f;
}

TEST(ViewFileTest, EveryRangeOfASmallFile) {
  const Fixture f = Mixed();
  const std::string expected = f.Expected();
  for (const uint64_t cache_bytes : {64_MiB, uint64_t{16}}) {
    const VirtualFilePtr file = f.Make(f.Memory(), Cache(cache_bytes));
    ASSERT_EQ(file->size_bytes(), expected.size());
    ReadScratch scratch;
    for (uint64_t begin = 0; begin <= expected.size(); ++begin) {
      for (uint64_t end = begin; end <= expected.size(); ++end) {
        const auto part = file->Read({begin, end}, scratch);
        ASSERT_TRUE(part) << part.error().message;
        ASSERT_EQ(Text(*part), std::string_view(expected).substr(begin, end - begin))
            << begin << " to " << end;
      }
    }
  }
}

TEST(ViewFileTest, IdentityIsOneReadIntoTheReply) {
  Fixture f;
  f.storage = RandomBytes(3_MiB, 2);
  // Two views that adjoin in the file and in the storage, then one that does not.
  f.tensors = {Packed(DType::kF16, {1024, 512}, 64, DType::kF16),
               Packed(DType::kF32, {100}, 64 + 1_MiB, DType::kF32), Packed(DType::kU8, {100}, 8, DType::kU8)};
  const auto storage = f.Counted();
  const VirtualFilePtr file = f.Make(storage);
  ReadScratch scratch;
  const ByteRange range{f.prefix.size() + 300, f.prefix.size() + 1_MiB + 200};
  const auto part = file->Read(range, scratch);
  ASSERT_TRUE(part);
  EXPECT_EQ(storage->reads(), 1u);
  EXPECT_EQ(storage->bytes_read(), range.size());
  EXPECT_EQ(part->data(), scratch.reply().data());
  EXPECT_TRUE(ReadAll(*file, scratch) == f.Expected());
}

TEST(ViewFileTest, SmallNeighboursShareReads) {
  Fixture f;
  constexpr uint64_t kTensors = 2000, kDistance = 192;
  f.storage = RandomBytes(kTensors * kDistance, 3);
  for (uint64_t i = 0; i < kTensors; ++i)
    f.tensors.push_back(
        Packed(DType::kF16, {32}, (kTensors - 1 - i) * kDistance, i % 2 ? DType::kF16 : DType::kF32));
  const auto storage = f.Counted();
  const VirtualFilePtr file = f.Make(storage);
  ReadScratch scratch;
  EXPECT_TRUE(ReadAll(*file, scratch) == f.Expected());
  EXPECT_LE(storage->reads(), kTensors / 200);
  EXPECT_LE(storage->bytes_read(), 2 * f.storage.size());
}

TEST(ViewFileTest, FarNeighboursDoNotShareReads) {
  Fixture f;
  f.storage = RandomBytes(1_MiB, 4);
  f.tensors = {Packed(DType::kU8, {10}, 0, DType::kU8), Packed(DType::kU8, {10}, 900 * 1024, DType::kU8)};
  const auto storage = f.Counted();
  const VirtualFilePtr file = f.Make(storage);
  ReadScratch scratch;
  EXPECT_TRUE(ReadAll(*file, scratch) == f.Expected());
  EXPECT_EQ(storage->bytes_read(), 20u);
}

TEST(ViewFileTest, CastsReadEachSourceByteOnce) {
  for (const DType from : {DType::kF64, DType::kF16}) {
    Fixture f;
    f.storage = RandomBytes(5_MiB, 5);
    f.tensors = {Packed(from, {4_MiB / UnitBytes(from)}, 4, DType::kF32)};
    f.tensors[0].offset = 1;
    const auto storage = f.Counted();
    const VirtualFilePtr file = f.Make(storage);
    ReadScratch scratch;
    EXPECT_TRUE(ReadAll(*file, scratch) == f.Expected());
    // The header shifts requests by a few bytes: an element that two of them share is read twice.
    EXPECT_LE(storage->bytes_read(), 4_MiB + 64);
  }
}

TEST(ViewFileTest, LongRunsAreReadWithoutPanels) {
  Fixture f;
  f.storage = RandomBytes(6_MiB, 6);
  DenseTensor columns{
      .dtype = DType::kF16, .cast = DType::kF32, .shape = {20, 90'000}, .strides = {120'000, 1}};
  f.tensors = {columns};
  const auto storage = f.Counted();
  const auto cache = Cache();
  const VirtualFilePtr file = f.Make(storage, cache);
  ReadScratch scratch;
  EXPECT_TRUE(ReadAll(*file, scratch, 777'777) == f.Expected());
  EXPECT_EQ(cache->stats().misses, 0u);
  // What lies between the runs is not read; an element that two requests share is, twice.
  EXPECT_LE(storage->bytes_read(), 20 * 90'000 * 2 + 100u);
}

/// A matrix of 16-bit units, transposed.
Fixture Transposed(uint64_t rows, uint64_t columns, DType cast) {
  Fixture f;
  f.storage = RandomBytes(rows * columns * 2, 7);
  f.tensors = {
      DenseTensor{.dtype = DType::kF16, .cast = cast, .shape = {rows, columns}, .strides = {1, rows}}};
  return f;
}

TEST(ViewFileTest, ATransposeReadsEachSourceByteOnce) {
  const Fixture f = Transposed(1500, 1100, DType::kF32);
  const auto storage = f.Counted();
  const VirtualFilePtr file = f.Make(storage, Cache(16_MiB));
  ReadScratch scratch;
  EXPECT_TRUE(ReadAll(*file, scratch) == f.Expected());
  EXPECT_LE(storage->bytes_read(), f.storage.size() + f.storage.size() / 10);
}

TEST(ViewFileTest, ATransposeLargerThanTheCacheIsStillRight) {
  const Fixture f = Transposed(700, 900, DType::kBF16);
  const std::string expected = f.Expected();
  for (const uint64_t cache_bytes : {512_KiB, 100_KiB, 3_KiB, uint64_t{1}}) {
    const auto storage = f.Counted();
    const VirtualFilePtr file = f.Make(storage, Cache(cache_bytes));
    ReadScratch scratch;
    // The smallest caches make a panel of a unit or two: read a part.
    const uint64_t size = cache_bytes > 10_KiB ? expected.size() : 2000;
    for (uint64_t begin = 0; begin < size; begin += 50'000) {
      const uint64_t end = std::min(size, begin + 50'000);
      const auto part = file->Read({begin, end}, scratch);
      ASSERT_TRUE(part);
      ASSERT_TRUE(Text(*part) == std::string_view(expected).substr(begin, end - begin)) << cache_bytes;
    }
  }
}

TEST(ViewFileTest, ChannelsLastPanelsAreReadOnce) {
  Fixture f;
  constexpr uint64_t kOut = 300, kIn = 250;
  f.storage = RandomBytes(kOut * kIn * 9 * 4, 8);
  f.tensors = {DenseTensor{.dtype = DType::kF32,
                           .cast = DType::kF16,
                           .shape = {kOut, kIn, 3, 3},
                           .strides = {9 * kIn, 1, 3 * kIn, kIn}}};
  const auto storage = f.Counted();
  const VirtualFilePtr file = f.Make(storage, Cache(8_MiB));
  ReadScratch scratch;
  EXPECT_TRUE(ReadAll(*file, scratch) == f.Expected());
  EXPECT_EQ(storage->bytes_read(), f.storage.size());
}

TEST(ViewFileTest, AFailedReadFailsTheReplyAndNothingElse) {
  Fixture f = Mixed();
  f.tensors.push_back(
      DenseTensor{.dtype = DType::kU16, .cast = DType::kU16, .shape = {30, 30}, .strides = {1, 32}});
  f.storage = RandomBytes(600_KiB, 9);
  f.tensors.push_back(Packed(DType::kF32, {120'000}, 4, DType::kF16));
  const std::string expected = f.Expected();
  uint64_t nth = 0;
  for (bool failed = true; failed; ++nth) {
    failed = false;
    FaultyFile::Faults faults;
    faults.fail_begin = nth;
    faults.fail_end = nth + 1;
    const VirtualFilePtr file = f.Make(std::make_shared<FaultyFile>(f.Memory(), faults));
    ReadScratch scratch;
    for (uint64_t begin = 0; begin < expected.size(); begin += 1000) {
      const ByteRange range{begin, std::min<uint64_t>(expected.size(), begin + 1000)};
      auto part = file->Read(range, scratch);
      if (!part) {
        ASSERT_FALSE(failed) << "one fault failed two reads";
        failed = true;
        EXPECT_EQ(part.error().error_number, EIO);
        part = file->Read(range, scratch);
        ASSERT_TRUE(part) << "a fault outlived its read";
      }
      ASSERT_TRUE(Text(*part) == std::string_view(expected).substr(range.begin, range.size()));
    }
  }
  EXPECT_GT(nth, 100u);
}

TEST(ViewFileTest, RefusesRangesItCannotServe) {
  Fixture f;
  f.storage = RandomBytes(3_MiB, 10);
  f.tensors = {Packed(DType::kU8, {2_MiB}, 0, DType::kU8)};
  const VirtualFilePtr files[] = {f.Make(f.Memory()), MakePassThroughFile(f.Memory()),
                                  MakeTextFile(f.storage)};
  ReadScratch scratch;
  for (const VirtualFilePtr& file : files) {
    const uint64_t size = file->size_bytes();
    for (const ByteRange range :
         {ByteRange{0, kReadBytesMax + 1}, ByteRange{size, size + 1}, ByteRange{size - 1, size + 1},
          ByteRange{size + 1, size + 1}, ByteRange{5, 4}}) {
      const auto part = file->Read(range, scratch);
      ASSERT_FALSE(part);
      EXPECT_EQ(part.error().code, ErrorCode::kInvalidArgument);
    }
    EXPECT_TRUE(file->Read({0, kReadBytesMax}, scratch));
    EXPECT_TRUE(file->Read({size - kReadBytesMax, size}, scratch));
    EXPECT_TRUE(file->Read({size, size}, scratch)->empty());
  }
}

TEST(ViewFileTest, WithoutTensors) {
  ReadScratch scratch;
  const VirtualFilePtr header = MakeViewFile("header", {}, Cache()).value();
  EXPECT_EQ(ReadAll(*header, scratch), "header");
  const VirtualFilePtr nothing = MakeViewFile("", {}, Cache()).value();
  EXPECT_EQ(nothing->size_bytes(), 0u);
  EXPECT_TRUE(nothing->Read({0, 0}, scratch)->empty());
  Fixture f;
  f.prefix = "";
  f.storage = "abc";
  f.tensors = {Packed(DType::kU8, {0}, 0, DType::kU8), Packed(DType::kU8, {3}, 0, DType::kU8),
               Packed(DType::kU8, {0}, 0, DType::kU8)};
  EXPECT_EQ(ReadAll(*f.Make(f.Memory()), scratch), "abc");
}

TEST(ViewFileTest, PassThroughAndText) {
  ReadScratch scratch;
  const std::string bytes = RandomBytes(2'500'000, 11);
  EXPECT_TRUE(ReadAll(*MakePassThroughFile(MakeMemoryFile(bytes, "memory")), scratch) == bytes);
  EXPECT_TRUE(ReadAll(*MakeTextFile(bytes), scratch) == bytes);
  const auto failing =
      std::make_shared<FaultyFile>(MakeMemoryFile(bytes, "memory"), FaultyFile::Faults{.fail_begin = 0});
  EXPECT_FALSE(MakePassThroughFile(failing)->Read({0, 10}, scratch));
}

/// A file of any size that holds zeros.
class HugeFile final : public RandomAccessFile {
 public:
  explicit HugeFile(uint64_t size_bytes) : RandomAccessFile("huge", size_bytes) {}

 protected:
  Status DoReadAt(uint64_t, std::span<std::byte> destination) const override {
    std::ranges::fill(destination, std::byte{0});
    return {};
  }
};

TEST(ViewFileTest, TheSizeFits63Bits) {
  const uint64_t most = INT64_MAX;
  const auto storage = std::make_shared<HugeFile>(most);
  const auto bytes = [&](uint64_t count) {
    return TensorView::Make(storage, Layout::Contiguous(count, 1, 0).value(), DType::kU8, {count}).value();
  };
  for (const uint64_t extra : {9, 10, 11}) {
    const auto file =
        MakeViewFile(std::string(10, 'p'), {bytes(most / 2), bytes(most - most / 2 - extra)}, Cache());
    ASSERT_EQ(file.has_value(), extra >= 10);
    if (!file) {
      EXPECT_EQ(file.error().code, ErrorCode::kLimitExceeded);
      continue;
    }
    ReadScratch scratch;
    const uint64_t size = (*file)->size_bytes();
    EXPECT_EQ(Text(*(*file)->Read({size - 100, size}, scratch)), std::string(100, '\0'));
  }
}

TEST(ViewFileTest, ManyThreadsReadTheSame) {
  Fixture f = Transposed(300, 257, DType::kF32);
  f.tensors.push_back(Packed(DType::kF16, {5000}, 2, DType::kBF16));
  f.tensors.push_back(Packed(DType::kF16, {5000}, 2, DType::kF16));
  const std::string expected = f.Expected();
  const VirtualFilePtr file = f.Make(f.Memory(), Cache(50_KiB));
  std::atomic<int> wrong{0};
  std::vector<std::jthread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      ReadScratch scratch;
      std::mt19937_64 random(static_cast<uint64_t>(t));
      for (int i = 0; i < 200; ++i) {
        const uint64_t begin = random() % expected.size();
        const uint64_t end = begin + random() % std::min<uint64_t>(30'000, expected.size() - begin + 1);
        const auto part = file->Read({begin, end}, scratch);
        if (!part || Text(*part) != std::string_view(expected).substr(begin, end - begin)) ++wrong;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace weightfs
