#include "convert/target/hf/safetensors_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "convert/base/bytes.h"
#include "convert/base/json.h"

namespace weightfs {
namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kHeaderAlignmentBytes = 8;
constexpr uint64_t kFileBytesMax = std::numeric_limits<int64_t>::max();

std::vector<size_t> FileOrder(std::span<const ServedTensor> tensors, std::span<const size_t> chosen) {
  std::vector<size_t> order(chosen.begin(), chosen.end());
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const ServedTensor& left = tensors[a];
    const ServedTensor& right = tensors[b];
    if (left.view.dtype() != right.view.dtype()) return left.view.dtype() > right.view.dtype();
    return left.name < right.name;
  });
  return order;
}

std::unexpected<Error> HeaderTooLarge(std::string_view file, uint64_t header_bytes_max, size_t tensor_count) {
  return Fail(ErrorCode::kLimitExceeded,
              fmt::format("{}: a header of more than {} bytes for {} tensors; expected at most that many",
                          file, header_bytes_max, tensor_count),
              "serve several files with --max-shard-size, or fewer tensors with --include or --exclude");
}

/// Appends the length, the JSON and the padding. Offsets in the JSON count from the end of the header.
Status WriteHeader(std::span<const ServedTensor> tensors, std::string_view file, const Limits& limits,
                   SafetensorsLayout& layout) {
  std::string& header = layout.header;
  header.assign(kLengthBytes, '\0');
  header += R"({"__metadata__":{"format":"pt"})";
  uint64_t offset = 0;
  for (const size_t index : layout.order) {
    const TensorView& view = tensors[index].view;
    const auto end = CheckedAdd(offset, view.size_bytes());
    if (!end || *end > kFileBytesMax - limits.emitted_header_bytes_max - kLengthBytes)
      return Fail(ErrorCode::kLimitExceeded,
                  fmt::format("{}: more than 2^63 - 1 bytes of tensors; expected fewer", file),
                  "serve several files with --max-shard-size");
    header += ',';
    header += JsonString(tensors[index].name);
    fmt::format_to(std::back_inserter(header), R"(:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                   SafetensorsName(view.dtype()), fmt::join(view.shape(), ","), offset, *end);
    if (header.size() > limits.emitted_header_bytes_max + kLengthBytes)
      return HeaderTooLarge(file, limits.emitted_header_bytes_max, layout.order.size());
    layout.offsets_bytes.push_back(offset);
    offset = *end;
  }
  header += '}';
  header.resize(AlignUp(header.size(), kHeaderAlignmentBytes), ' ');
  const uint64_t json_bytes = header.size() - kLengthBytes;
  if (json_bytes > limits.emitted_header_bytes_max)
    return HeaderTooLarge(file, limits.emitted_header_bytes_max, layout.order.size());
  std::memcpy(header.data(), &json_bytes, kLengthBytes);
  layout.size_bytes = header.size() + offset;
  for (uint64_t& begin : layout.offsets_bytes) begin += header.size();
  return {};
}

}  // namespace

Result<SafetensorsLayout> PlanSafetensors(std::span<const ServedTensor> tensors,
                                          std::span<const size_t> chosen, std::string_view file,
                                          const Limits& limits) {
  SafetensorsLayout layout;
  layout.order = FileOrder(tensors, chosen);
  layout.offsets_bytes.reserve(layout.order.size());
  WEIGHTFS_CHECK(WriteHeader(tensors, file, limits, layout));
  const uint64_t json_bytes = layout.header.size() - kLengthBytes;
  if (json_bytes > kHubHeaderBytesMax)
    layout.warnings.push_back(
        fmt::format("{}: a header of {} bytes; loaders accept it, tools of the Hugging Face hub at most {} "
                    "(--max-shard-size makes headers smaller)",
                    file, json_bytes, kHubHeaderBytesMax));
  return layout;
}

}  // namespace weightfs
