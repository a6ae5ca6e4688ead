#include "convert/pickle/unpickler.h"

#include <new>

#include "convert/pickle/machine.h"

namespace weightfs::pickle {
namespace {

// Of the three bytes of memory for each byte parsed, a caller that holds the stream has spent one.
constexpr uint64_t kFactorBesideStream = 2;
constexpr uint64_t kFactorFromFile = 3;

Result<Tree> RunMachine(ByteReader& reader, MemoryBudget& budget, Diagnostics& diagnostics,
                        const Limits& limits) {
  try {
    return Machine(reader, budget, diagnostics, limits).Run();
  } catch (const std::bad_alloc&) {
    return diagnostics.OutOfMemory();
  }
}

}  // namespace

Result<Tree> Parse(std::span<const std::byte> stream, std::string_view name, const Limits& limits) {
  Diagnostics diagnostics{.name = name};
  MemoryBudget budget(limits.parse_memory_base_bytes, kFactorBesideStream);
  ByteReader reader(stream, limits.pickle_stream_bytes_max, budget, diagnostics);
  return RunMachine(reader, budget, diagnostics, limits);
}

Result<Tree> Parse(const RandomAccessFile& file, uint64_t offset_bytes, std::string_view name,
                   const Limits& limits) {
  Diagnostics diagnostics{.name = name, .base_bytes = offset_bytes};
  if (offset_bytes > file.size_bytes())
    return diagnostics.Corrupt(
        fmt::format("a pickle after the end of {} bytes; expected it inside", file.size_bytes()));
  MemoryBudget budget(limits.parse_memory_base_bytes, kFactorFromFile);
  ByteReader reader(file, offset_bytes, limits.pickle_stream_bytes_max, budget, diagnostics);
  return RunMachine(reader, budget, diagnostics, limits);
}

}  // namespace weightfs::pickle
