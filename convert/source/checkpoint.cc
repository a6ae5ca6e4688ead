#include "convert/source/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>

#include "convert/source/utf8.h"

namespace weightfs {

Status CheckTensorNames(const Checkpoint& checkpoint, std::string_view file, const Limits& limits) {
  const uint64_t count = checkpoint.tensors.size() + checkpoint.unsupported.size();
  if (count > limits.tensors_max)
    return Fail(ErrorCode::kLimitExceeded,
                fmt::format("{}: {} tensors; the limit is {}", file, count, limits.tensors_max));
  std::vector<std::string_view> names;
  names.reserve(count);
  for (const SourceTensor& tensor : checkpoint.tensors) names.push_back(tensor.name);
  for (const UnsupportedTensor& tensor : checkpoint.unsupported) names.push_back(tensor.name);

  std::vector<std::string> not_text;
  for (const std::string_view name : names)
    if (!IsUtf8(name)) not_text.emplace_back(name);
  if (!not_text.empty())
    return Fail(
        ErrorCode::kCorrupt,
        fmt::format("{}: tensor names that are not valid UTF-8 (lone surrogates, or other bytes): {}; "
                    "expected text that JSON can carry",
                    file, ListQuoted(not_text)));

  std::ranges::sort(names);
  if (std::ranges::binary_search(names, std::string_view("__metadata__")))
    return Fail(ErrorCode::kCorrupt, fmt::format("{}: a tensor named '__metadata__'; expected another name, "
                                                 "safetensors reserves this one",
                                                 file));
  std::vector<std::string> twice;
  for (size_t i = 1; i < names.size(); ++i)
    if (names[i] == names[i - 1] && (twice.empty() || twice.back() != names[i])) twice.emplace_back(names[i]);
  if (!twice.empty())
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: names that more than one tensor has: {}; expected each once", file,
                            ListQuoted(twice)));
  return {};
}

}  // namespace weightfs
