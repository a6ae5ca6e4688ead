// Reads arbitrary bytes as the index of a sharded weight set. What is accepted names files of one folder
// only.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "convert/source/huggingface/classify.h"
#include "convert/source/huggingface/weight_index.h"

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weightfs;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // Names of files come from the source too.
  const FileClass file = ClassifyFileName(text);
  Require(file.shard_number <= file.shard_count);
  Require(file.role != FileRole::kWeights || !file.stem.empty() || file.is_safetensors);
  const auto index = ParseWeightIndex(text, "input", Limits{});
  if (!index) {
    Require(!index.error().message.empty());
    return 0;
  }
  for (const std::string& shard : index->shards)
    Require(!shard.empty() && shard != "." && shard != ".." && shard.find('/') == shard.npos);
  for (const IndexedTensor& tensor : index->tensors) Require(tensor.shard < index->shards.size());
  return 0;
}
