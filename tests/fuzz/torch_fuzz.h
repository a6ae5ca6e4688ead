// What the torch fuzz targets share: open arbitrary bytes, and hold the reader to its promises.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>

#include "convert/source/open_file.h"
#include "convert/view/virtual_file.h"

namespace weightfs::fuzz {

inline void Require(bool condition) {
  if (!condition) std::abort();
}

/// Opens `bytes` as a checkpoint file and reads the ends of every tensor. Errors must name the file; names
/// must be unique; a read gives all bytes or an error.
inline void OpenAndRead(std::string bytes) {
  constexpr uint64_t kCacheBytes = 1_MiB;
  constexpr size_t kTensorsRead = 64;
  constexpr uint64_t kRangeBytes = 4096;
  SourceContext context;
  context.limits.cache_bytes = kCacheBytes;
  context.cache = std::make_shared<BlockCache>(kCacheBytes);
  const Result<Checkpoint> read = OpenCheckpointFile(MakeMemoryFile(std::move(bytes), "input"), context);
  if (!read) {
    Require(read.error().message.starts_with("input"));
    Require(read.error().code != ErrorCode::kInternal && read.error().code != ErrorCode::kIo);
    return;
  }
  std::set<std::string_view> names;
  for (const SourceTensor& tensor : read->tensors) Require(names.insert(tensor.name).second);
  for (const UnsupportedTensor& tensor : read->unsupported) {
    Require(names.insert(tensor.name).second);
    Require(!tensor.reason.empty());
  }
  // Values are an object of text that JSON can carry: dump() throws for any other.
  if (read->values != nullptr) Require(read->values->is_object() && !read->values->dump().empty());
  static ReadScratch scratch;
  for (size_t i = 0; i < std::min(kTensorsRead, read->tensors.size()); ++i) {
    const Result<VirtualFilePtr> file = MakeViewFile({}, {read->tensors[i].view}, context.cache);
    Require(file.has_value());
    const uint64_t size = (*file)->size_bytes();
    for (const uint64_t begin : {uint64_t{0}, size - std::min(size, kRangeBytes)}) {
      const ByteRange range{begin, std::min(size, begin + kRangeBytes)};
      const auto part = (*file)->Read(range, scratch);
      Require(part ? part->size() == range.size() : part.error().code == ErrorCode::kCorrupt);
    }
  }
}

}  // namespace weightfs::fuzz
