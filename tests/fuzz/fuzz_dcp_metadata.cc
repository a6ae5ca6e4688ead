// Reads arbitrary bytes as the metadata of a distributed checkpoint, chooses its model, and checks its boxes.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include "convert/source/dcp/assemble_tensor.h"
#include "convert/source/dcp/metadata.h"
#include "convert/source/dcp/subtree.h"

namespace weightfs {
namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

void CheckTensor(const DcpTensor& tensor) {
  Require(!tensor.path.empty());
  std::vector<Box> boxes;
  for (const DcpChunk& chunk : tensor.chunks) {
    Require(chunk.offsets.size() == tensor.shape.size() && chunk.sizes.size() == tensor.shape.size());
    for (size_t axis = 0; axis < tensor.shape.size(); ++axis)
      Require(chunk.sizes[axis] > 0 && chunk.offsets[axis] + chunk.sizes[axis] <= tensor.shape[axis]);
    boxes.push_back({chunk.offsets, chunk.sizes});
  }
  const std::vector<size_t> kept = DropCopies(boxes);
  Require(boxes.empty() == kept.empty() && std::ranges::is_sorted(kept));
  std::vector<Box> kept_boxes;
  for (const size_t i : kept) kept_boxes.push_back(boxes[i]);
  const Status covered = CheckCovered(tensor.shape, kept_boxes, "tensor");
  Require(covered || !covered.error().message.empty());
}

void Run(std::string bytes) {
  const FilePtr files[] = {MakeMemoryFile(std::move(bytes), "input")};
  Limits limits;
  limits.parse_memory_base_bytes = 16_MiB;
  const Result<DcpMetadata> metadata = ReadDcpMetadata(files, limits);
  if (!metadata) {
    Require(metadata.error().message.starts_with("input"));
    Require(metadata.error().code != ErrorCode::kInternal);
    return;
  }
  for (const DcpTensor& tensor : metadata->tensors) CheckTensor(tensor);
  for (const char* weights : {"", ".", "model", "ema", "optim"}) {
    const Result<DcpSubtree> subtree = ChooseDcpSubtree(*metadata, weights, "input");
    if (!subtree) continue;
    Require(subtree->names.size() == subtree->tensors.size());
    for (const size_t i : subtree->tensors) Require(i < metadata->tensors.size());
  }
}

}  // namespace
}  // namespace weightfs

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  weightfs::Run(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
