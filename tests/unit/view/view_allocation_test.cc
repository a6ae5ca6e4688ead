// Reads of tensors that are not strided allocate nothing: the global operator new counts.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <vector>

#include "convert/io/local_file.h"
#include "convert/view/virtual_file.h"
#include "tests/support/dense_view.h"
#include "tests/support/temp_dir.h"

namespace {
std::atomic<uint64_t> allocations{0};
}

void* operator new(size_t size) {
  ++allocations;
  if (void* const memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace weightfs {
namespace {

using testing::DenseTensor;

TEST(ViewAllocationTest, ReadsAllocateNothing) {
  const testing::TempDir folder;
  testing::WriteFile(folder / "source", testing::PatternBytes(4_MiB));
  const FilePtr source = LocalFile::Open(folder / "source", "source", {}).value();
  std::vector<TensorView> views;
  const auto add = [&](DType dtype, DType cast, std::vector<uint64_t> shape, std::vector<uint64_t> strides,
                       ElementOps ops = {}) {
    views.push_back(DenseTensor{
        .dtype = dtype, .cast = cast, .shape = std::move(shape), .strides = std::move(strides), .ops = ops}
                        .View(source)
                        .value());
  };
  add(DType::kF16, DType::kF16, {1 << 20}, {1});
  add(DType::kF16, DType::kF32, {1 << 20}, {1});
  add(DType::kF64, DType::kBF16, {1 << 19}, {1}, {.swap_bytes = 8, .sign_flip = SignFlip::kAll});
  add(DType::kF32, DType::kF16, {20, 40'000}, {50'000, 1});  // Long runs.
  for (int i = 0; i < 1000; ++i) add(DType::kF32, i % 2 ? DType::kF32 : DType::kF16, {25}, {1});
  const auto file = MakeViewFile("header", std::move(views), std::make_shared<BlockCache>(1_MiB)).value();
  ReadScratch scratch;
  const uint64_t before = allocations;
  bool all_read = true;
  for (uint64_t begin = 0; begin < file->size_bytes(); begin += 400'001) {
    const uint64_t end = std::min(file->size_bytes(), begin + 400'001);
    all_read = all_read && file->Read({begin, end}, scratch).has_value();
  }
  EXPECT_EQ(allocations, before);
  EXPECT_TRUE(all_read);
  EXPECT_GT(before, 0u);
}

}  // namespace
}  // namespace weightfs
