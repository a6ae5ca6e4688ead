// Reads arbitrary bytes as a safetensors file. What is accepted must keep the promises of the reader: tensors
// tile the data, and laying them out again and reading that gives the same tensors.
#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "convert/source/safetensors/reader.h"
#include "convert/target/hf/safetensors_layout.h"

namespace {

using namespace weightfs;

void Require(bool condition) {
  if (!condition) std::abort();
}

SourceContext Context() { return {.cache = std::make_shared<BlockCache>(1 << 20)}; }

std::vector<ServedTensor> Serve(const Checkpoint& checkpoint) {
  std::vector<ServedTensor> served;
  for (size_t i = 0; i < checkpoint.tensors.size(); ++i)
    served.push_back({checkpoint.tensors[i].name, checkpoint.tensors[i].view, i});
  return served;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const FilePtr file = MakeMemoryFile(std::string(reinterpret_cast<const char*>(data), size), "input");
  const Result<Checkpoint> read = ReadSafetensors(file, Context());
  if (!read) {
    Require(!read.error().message.empty());
    return 0;
  }
  uint64_t position = SafetensorsHeaderRange(*file, Limits{})->end;
  for (const SourceTensor& tensor : read->tensors) {
    const auto range = tensor.view.IdentityRange();
    Require(range.has_value());
    Require(range->empty() || range->begin == position);
    position += range->size();
  }
  Require(position == size);

  const std::vector<ServedTensor> served = Serve(*read);
  std::vector<size_t> all(served.size());
  std::iota(all.begin(), all.end(), size_t{0});
  const auto layout = PlanSafetensors(served, all, "output", Limits{});
  Require(layout.has_value());
  std::string bytes = layout->header;
  bytes.resize(layout->size_bytes);
  const Result<Checkpoint> again = ReadSafetensors(MakeMemoryFile(std::move(bytes), "output"), Context());
  Require(again.has_value());
  Require(again->tensors.size() == served.size());
  for (size_t i = 0; i < served.size(); ++i) {
    const ServedTensor& tensor = served[layout->order[i]];
    Require(again->tensors[i].name == tensor.name);
    Require(again->tensors[i].view.dtype() == tensor.view.dtype());
    Require(again->tensors[i].view.shape() == tensor.view.shape());
  }
  return 0;
}
