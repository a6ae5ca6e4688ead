// Micro-benchmarks of the read path below FUSE: the cast kernels, and view files over memory and over a
// cached file on disk, in requests of 1 MiB. Bytes per second are bytes served.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "convert/io/local_file.h"
#include "convert/view/algebra.h"
#include "convert/view/kernels/cast.h"
#include "convert/view/virtual_file.h"

namespace weightfs {
namespace {

constexpr DType kTypes[] = {DType::kF64, DType::kF32, DType::kF16, DType::kBF16};

void BenchCast(benchmark::State& state, DType from, DType to) {
  constexpr size_t kElements = 64 * 1024;  // In the second-level cache, as on the read path.
  std::vector<std::byte> source(kElements * BitWidth(from) / 8), destination(kElements * BitWidth(to) / 8);
  for (size_t i = 0; i < source.size(); ++i) source[i] = static_cast<std::byte>(i * 37 % 61);
  const CastKernel kernel = FindCastKernel(from, to);
  for (auto _ : state) {
    kernel(source.data(), destination.data(), kElements);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * destination.size()));
}

/// A file in the working folder, in the page cache as it was just written; removed at the end.
class CachedFile {
 public:
  explicit CachedFile(uint64_t size_bytes) {
    std::string name = "view_bench-XXXXXX";
    std::FILE* const out = fdopen(mkstemp(name.data()), "wb");
    const std::string block(1_MiB, 'x');
    for (uint64_t done = 0; done < size_bytes; done += block.size())
      std::fwrite(block.data(), 1, block.size(), out);
    std::fclose(out);
    name_ = name;
    file_ = LocalFile::Open(name_, name_, {}).value();
  }
  ~CachedFile() { unlink(name_.c_str()); }
  const FilePtr& file() const { return file_; }

 private:
  std::string name_;
  FilePtr file_;
};

FilePtr Source(bool on_disk) {
  constexpr uint64_t kSize = 256_MiB;
  static const FilePtr memory = MakeMemoryFile(std::string(kSize, 'x'), "memory");
  static const CachedFile cached(kSize);
  return on_disk ? cached.file() : memory;
}

void ReadFile(benchmark::State& state, const VirtualFile& file) {
  ReadScratch scratch;
  uint64_t begin = 0, served = 0;
  for (auto _ : state) {
    const uint64_t end = std::min(begin + kReadBytesMax, file.size_bytes());
    const auto part = file.Read({begin, end}, scratch);
    if (!part) return state.SkipWithError(part.error().message.c_str());
    benchmark::DoNotOptimize(part->data());
    served += end - begin;
    begin = end == file.size_bytes() ? 0 : end;
  }
  state.SetBytesProcessed(static_cast<int64_t>(served));
}

void BenchPacked(benchmark::State& state, bool on_disk, DType from, DType to) {
  const FilePtr source = Source(on_disk);
  const uint64_t count = source->size_bytes() / UnitBytes(from);
  const auto view =
      TensorView::Make(source, Layout::Contiguous(count, UnitBytes(from), 0).value(), from, {count})
          ->Cast(to);
  ReadFile(state,
           **MakeViewFile(std::string(200, 'h'), {view.value()}, std::make_shared<BlockCache>(64_MiB)));
}

/// 1,024-element tensors, 64 bytes apart, in reverse order.
void BenchSmall(benchmark::State& state, bool on_disk) {
  const FilePtr source = Source(on_disk);
  std::vector<TensorView> views;
  for (uint64_t begin = 16_MiB; begin >= 2112; begin -= 2112)
    views.push_back(
        TensorView::Make(source, Layout::Contiguous(1024, 2, begin).value(), DType::kF16, {1024}).value());
  ReadFile(state,
           **MakeViewFile(std::string(200, 'h'), std::move(views), std::make_shared<BlockCache>(64_MiB)));
}

void BenchTransposed(benchmark::State& state, bool on_disk, DType dtype, uint64_t rows, uint64_t columns) {
  const FilePtr source = Source(on_disk);
  const Shape shape{rows, columns}, strides{1, rows};
  Layout layout = Layout::Strided(shape, strides, 0, UnitBytes(dtype), source->size_bytes(), {}).value();
  const auto view = TensorView::Make(source, std::move(layout), dtype, shape);
  const auto cache = std::make_shared<BlockCache>(64_MiB);
  // The same matrix again is another one to the cache, so that panels do not stay from one pass to the next.
  ReadFile(state, **MakeViewFile(std::string(200, 'h'), {*view, *view, *view}, cache));
}

/// Parts of `columns / 8` columns each side by side, as ranks split along columns are joined.
void BenchColumnConcat(benchmark::State& state, bool on_disk, DType dtype, uint64_t rows, uint64_t columns) {
  const FilePtr source = Source(on_disk);
  std::vector<TensorView> parts;
  const uint64_t count = rows * (columns / 8);
  for (uint64_t i = 0; i < 8; ++i) {
    Layout layout = Layout::Contiguous(count, UnitBytes(dtype), i * count * UnitBytes(dtype)).value();
    parts.push_back(TensorView::Make(source, std::move(layout), dtype, {rows, columns / 8}).value());
  }
  ReadFile(state, **MakeViewFile(std::string(200, 'h'), {Concat(parts, 1).value()},
                                 std::make_shared<BlockCache>(64_MiB)));
}

/// Halves of each head apart instead of in pairs: rows in another order.
void BenchRowPermute(benchmark::State& state, bool on_disk, DType dtype, uint64_t heads, uint64_t columns) {
  const FilePtr source = Source(on_disk);
  const uint64_t count = heads * 128 * columns;
  Layout layout = Layout::Contiguous(count, UnitBytes(dtype), 0).value();
  const TensorView view = TensorView::Make(source, std::move(layout), dtype, {heads, 64, 2, columns}).value();
  const TensorView permuted = Transpose(view, 1, 2).value();
  ReadFile(state, **MakeViewFile(std::string(200, 'h'), {permuted, permuted, permuted},
                                 std::make_shared<BlockCache>(64_MiB)));
}

std::string Name(DType dtype) { return std::string(SafetensorsName(dtype)); }

}  // namespace
}  // namespace weightfs

int main(int argc, char** argv) {
  using namespace weightfs;
  for (const DType from : kTypes)
    for (const DType to : kTypes)
      benchmark::RegisterBenchmark(("cast/" + Name(from) + "/" + Name(to)).c_str(), BenchCast, from, to);
  for (const bool on_disk : {false, true}) {
    const std::string place = on_disk ? "file/" : "memory/";
    const std::pair<DType, DType> pairs[] = {{DType::kF16, DType::kF16},  {DType::kF16, DType::kF32},
                                             {DType::kF32, DType::kBF16}, {DType::kF32, DType::kF16},
                                             {DType::kF64, DType::kF16},  {DType::kBF16, DType::kF32}};
    for (const auto& [from, to] : pairs)
      benchmark::RegisterBenchmark((place + Name(from) + "/" + Name(to)).c_str(), BenchPacked, on_disk, from,
                                   to);
    benchmark::RegisterBenchmark((place + "small").c_str(), BenchSmall, on_disk);
    benchmark::RegisterBenchmark((place + "transposed/2048x4096/F16").c_str(), BenchTransposed, on_disk,
                                 DType::kF16, 2048, 4096);
    benchmark::RegisterBenchmark((place + "transposed/4096x4096/F16").c_str(), BenchTransposed, on_disk,
                                 DType::kF16, 4096, 4096);
    benchmark::RegisterBenchmark((place + "transposed/4096x8192/F32").c_str(), BenchTransposed, on_disk,
                                 DType::kF32, 4096, 8192);
    benchmark::RegisterBenchmark((place + "transposed/8192x8192/F16").c_str(), BenchTransposed, on_disk,
                                 DType::kF16, 8192, 8192);
    benchmark::RegisterBenchmark((place + "transposed/1600x6400/F32").c_str(), BenchTransposed, on_disk,
                                 DType::kF32, 1600, 6400);
    benchmark::RegisterBenchmark((place + "transposed/1024x32768/F32").c_str(), BenchTransposed, on_disk,
                                 DType::kF32, 1024, 32768);
    benchmark::RegisterBenchmark((place + "column_concat/4096x8x512/F16").c_str(), BenchColumnConcat, on_disk,
                                 DType::kF16, 4096, 4096);
    benchmark::RegisterBenchmark((place + "column_concat/8192x8x64/F16").c_str(), BenchColumnConcat, on_disk,
                                 DType::kF16, 8192, 512);
    benchmark::RegisterBenchmark((place + "row_permute/32x128x4096/F16").c_str(), BenchRowPermute, on_disk,
                                 DType::kF16, 32, 4096);
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
