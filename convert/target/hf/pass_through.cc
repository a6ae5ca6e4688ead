#include "convert/target/hf/pass_through.h"

#include <vector>

namespace weightfs {

bool ServesUnchanged(const Checkpoint& checkpoint, std::span<const ServedTensor> served) {
  if (checkpoint.format != "safetensors" || !checkpoint.unsupported.empty()) return false;
  if (served.size() != checkpoint.tensors.size()) return false;
  std::vector<bool> seen(served.size(), false);
  for (const ServedTensor& tensor : served) {
    if (tensor.source_index >= seen.size() || seen[tensor.source_index]) return false;
    seen[tensor.source_index] = true;
    const SourceTensor& source = checkpoint.tensors[tensor.source_index];
    if (tensor.name != source.name || tensor.view.dtype() != source.view.dtype() ||
        tensor.view.shape() != source.view.shape() ||
        tensor.view.IdentityRange() != source.view.IdentityRange())
      return false;
  }
  return true;
}

}  // namespace weightfs
