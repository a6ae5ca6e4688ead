// How often source bytes are read for views that are served in another order than they are stored.
#include "convert/view/panel.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "convert/view/algebra.h"
#include "convert/view/amplification.h"
#include "convert/view/virtual_file.h"
#include "tests/support/dense_view.h"
#include "tests/support/faulty_file.h"
#include "tests/support/temp_dir.h"

namespace weightfs {
namespace {

using testing::FaultyFile;

struct Counted {
  std::shared_ptr<FaultyFile> file;
  TensorView view;
};

Counted Matrix(uint64_t rows, uint64_t columns, DType dtype = DType::kF32) {
  const uint64_t size = rows * columns * UnitBytes(dtype);
  auto file = std::make_shared<FaultyFile>(MakeMemoryFile(testing::PatternBytes(size), "matrix"),
                                           FaultyFile::Faults{});
  Layout layout = Layout::Contiguous(rows * columns, UnitBytes(dtype), 0).value();
  return {file, TensorView::Make(file, std::move(layout), dtype, {rows, columns}).value()};
}

VirtualFilePtr Serve(const TensorView& view, uint64_t cache_bytes) {
  return MakeViewFile("head", {view}, std::make_shared<BlockCache>(cache_bytes)).value();
}

/// Reads all of `file` front to back, as the kernel's read-ahead does, and returns how many bytes that were.
uint64_t ReadThrough(const VirtualFile& file, uint64_t step_bytes) {
  ReadScratch scratch;
  for (uint64_t begin = 0; begin < file.size_bytes(); begin += step_bytes)
    EXPECT_TRUE(file.Read({begin, std::min(file.size_bytes(), begin + step_bytes)}, scratch));
  return file.size_bytes() - 4;
}

double Amplification(uint64_t source_bytes, uint64_t served_bytes) {
  return static_cast<double>(source_bytes) / static_cast<double>(served_bytes);
}

// The cache holds a 20th to twice of the matrix: whole panels, and parts of it.
TEST(PanelTest, ATransposeReadsItsSourceAboutOnce) {
  for (const auto& [rows, columns] :
       {std::pair{2048u, 1024u}, {1024u, 2048u}, {3001u, 777u}, {512u, 4096u}}) {
    for (const uint64_t cache_bytes : {512_KiB, 1_MiB, 4_MiB, 8_MiB, 32_MiB}) {
      const Counted matrix = Matrix(rows, columns);
      const VirtualFilePtr file = Serve(Transpose(matrix.view, 0, 1).value(), cache_bytes);
      const uint64_t served = ReadThrough(*file, 128_KiB);
      const uint64_t panel_row_bytes = cache_bytes / 4 / rows;
      // Rows of which a panel wants less than 4 KiB cost what panel.h says.
      const double bound = panel_row_bytes >= 4096 || cache_bytes >= 2 * served
                               ? 1.1
                               : 1 + 256.0 / static_cast<double>(std::max<uint64_t>(panel_row_bytes, 4));
      EXPECT_LE(Amplification(matrix.file->bytes_read(), served), std::max(1.0, bound))
          << rows << " x " << columns << ", cache " << cache_bytes;
    }
  }
}

// The default cache and the matrices of real models: rows of a panel are long.
TEST(PanelTest, RealSizesStayWithinATenth) {
  for (const auto& [rows, columns] : {std::pair{6400u, 1600u}, {1600u, 6400u}, {4096u, 4096u}}) {
    const Counted matrix = Matrix(rows, columns);
    const VirtualFilePtr file = Serve(Transpose(matrix.view, 0, 1).value(), Limits{}.cache_bytes);
    const uint64_t served = ReadThrough(*file, 1_MiB);
    EXPECT_LE(Amplification(matrix.file->bytes_read(), served), 1.1) << rows << " x " << columns;
  }
}

TEST(PanelTest, AColumnConcatReadsItsSourcesAboutOnce) {
  for (const uint64_t columns : {16u, 100u, 1000u, 3000u}) {
    std::vector<Counted> parts;
    std::vector<TensorView> views;
    for (int i = 0; i < 8; ++i) {
      parts.push_back(Matrix(700, columns, DType::kF16));
      views.push_back(parts.back().view);
    }
    const VirtualFilePtr file = Serve(Concat(views, 1).value(), 1_MiB);
    const uint64_t served = ReadThrough(*file, 1_MiB);
    uint64_t read = 0, reads = 0;
    for (const Counted& part : parts) {
      read += part.file->bytes_read();
      reads += part.file->reads();
    }
    EXPECT_LE(Amplification(read, served), 1.1) << columns;
    // Neighbouring rows of a part share a read.
    EXPECT_LE(reads, 8 * (served / 64_KiB + 8)) << columns;
  }
}

// Rotary halves of each head: rows that lie every other row, in heads that are a panel each.
TEST(PanelTest, APermutationOfRowsReadsItsSourceOnce) {
  const Counted matrix = Matrix(32 * 128, 1024, DType::kBF16);
  const TensorView heads = Reshape(matrix.view, {32, 64, 2, 1024}).value();
  const VirtualFilePtr file = Serve(Transpose(heads, 1, 2).value(), Limits{}.cache_bytes);
  const uint64_t served = ReadThrough(*file, 1_MiB);
  EXPECT_LE(Amplification(matrix.file->bytes_read(), served), 1.0);
  // Rows of 16 KiB, heads of 2 MiB.
  const Counted wide = Matrix(8 * 128, 8192, DType::kBF16);
  const TensorView wide_heads = Reshape(wide.view, {8, 64, 2, 8192}).value();
  const uint64_t wide_served =
      ReadThrough(*Serve(Transpose(wide_heads, 1, 2).value(), Limits{}.cache_bytes), 1_MiB);
  EXPECT_LE(Amplification(wide.file->bytes_read(), wide_served), 1.0);
}

// What inspect says a view costs is what reading it costs.
TEST(PanelTest, TheExpectedAmplificationIsWhatIsRead) {
  const auto expect = [](const Counted& matrix, const TensorView& view, uint64_t cache_bytes) {
    const VirtualFilePtr file = Serve(view, cache_bytes);
    const uint64_t served = ReadThrough(*file, 128_KiB);
    EXPECT_NEAR(ReadAmplification(view, cache_bytes).value(),
                Amplification(matrix.file->bytes_read(), served), 0.001);
  };
  for (const uint64_t cache_bytes : {512_KiB, 4_MiB, 64_MiB}) {
    for (const auto& [rows, columns] : {std::pair{2048u, 1024u}, {3001u, 77u}, {64u, 9000u}}) {
      const Counted matrix = Matrix(rows, columns);
      expect(matrix, Transpose(matrix.view, 0, 1).value(), cache_bytes);
      const Counted whole = Matrix(rows, columns);
      expect(whole, whole.view, cache_bytes);
      const Counted columns_only = Matrix(rows, columns);
      expect(columns_only, Slice(columns_only.view, 1, 1, 3, columns / 3 - 1).value(), cache_bytes);
      const Counted flipped = Matrix(rows, columns);
      expect(flipped, Flip(*Transpose(flipped.view, 0, 1), 0).value(), cache_bytes);
    }
  }
  EXPECT_EQ(ReadAmplification(*Fill({1000}, DType::kF32, 1), 1_MiB).value(), 0);
  const Counted a = Matrix(10, 10), b = Matrix(10, 10);
  EXPECT_EQ(ReadAmplification(*Sum(std::vector{a.view, b.view}), 1_MiB).value(), 2);
}

// A read at random makes one panel, never more than the cache may hold.
TEST(PanelTest, RandomReadsCostAtMostAPanelEach) {
  const uint64_t cache_bytes = 1_MiB;
  const Counted matrix = Matrix(2048, 1024);
  const VirtualFilePtr file = Serve(Transpose(matrix.view, 0, 1).value(), cache_bytes);
  std::mt19937_64 random(7);
  ReadScratch scratch;
  constexpr int kReads = 40;
  for (int i = 0; i < kReads; ++i) {
    const uint64_t begin = random() % (file->size_bytes() - 4096);
    const uint64_t before = matrix.file->bytes_read();
    ASSERT_TRUE(file->Read({begin, begin + 4096}, scratch));
    EXPECT_LE(matrix.file->bytes_read() - before, 2 * (cache_bytes / 2) * 3) << begin;
  }
}

}  // namespace
}  // namespace weightfs
