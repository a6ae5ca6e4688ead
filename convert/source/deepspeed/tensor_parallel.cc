#include "convert/source/deepspeed/tensor_parallel.h"

#include <fmt/format.h>
#include <re2/re2.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <unordered_map>
#include <utility>

#include "convert/source/deepspeed/partitions.h"
#include "convert/source/utf8.h"
#include "convert/view/algebra.h"

namespace weightfs {
namespace {

enum class Join : uint8_t { kAxis0, kAxis1, kReplicated, kAveraged, kTwoParts, kVocabulary, kNotSupported };

/// Patterns of the run, in the order in which its own tools try them.
class JoinRules {
 public:
  static Result<JoinRules> Make(const TensorParallelInfo& info) {
    JoinRules rules;
    WEIGHTFS_CHECK(rules.Add(info.not_supported, Join::kNotSupported));
    WEIGHTFS_CHECK(rules.Add(info.replicated, Join::kReplicated));
    WEIGHTFS_CHECK(rules.Add(info.averaged, Join::kAveraged));
    WEIGHTFS_CHECK(rules.Add(info.two_parts, Join::kTwoParts));
    WEIGHTFS_CHECK(rules.Add(info.row_parallel, Join::kAxis1));
    WEIGHTFS_CHECK(rules.Add(info.vocabulary, Join::kVocabulary));
    return rules;
  }

  Join Of(const std::string& name) const {
    for (const auto& [pattern, join] : rules_)
      if (pattern->Match(name, 0, name.size(), RE2::ANCHOR_START, nullptr, 0)) return join;
    return Join::kAxis0;
  }

 private:
  Status Add(const std::vector<std::string>& patterns, Join join) {
    for (const std::string& text : patterns) {
      auto pattern = std::make_unique<RE2>(text, RE2::Quiet);
      if (!pattern->ok())
        return Fail(ErrorCode::kCorrupt,
                    fmt::format("universal_checkpoint_info: pattern {}: {}; expected a regular "
                                "expression",
                                Quoted(text), pattern->error()));
      rules_.emplace_back(std::move(pattern), join);
    }
    return {};
  }

  std::vector<std::pair<std::unique_ptr<RE2>, Join>> rules_;
};

Result<TensorView> JoinHalves(const std::vector<TensorView>& parts) {
  std::vector<TensorView> halves;
  for (const bool is_second : {false, true})
    for (const TensorView& part : parts) {
      const uint64_t rows = part.shape().front(), first = (rows + 1) / 2;
      WEIGHTFS_TRY(TensorView half, Narrow(part, 0, is_second ? first : 0, is_second ? rows - first : first));
      halves.push_back(std::move(half));
    }
  return Concat(halves, 0);
}

Result<TensorView> JoinViews(const std::vector<TensorView>& parts, Join join,
                             const TensorParallelInfo& info) {
  const size_t axes = parts.front().shape().size();
  switch (join) {
    case Join::kReplicated:
      return parts.front();
    case Join::kAveraged:
      return Mean(parts);
    case Join::kAxis1:
      return Concat(parts, axes > 1 ? 1 : 0);
    case Join::kTwoParts:
      return JoinHalves(parts);
    case Join::kVocabulary: {
      WEIGHTFS_TRY(TensorView whole, Concat(parts, 0));
      if (!info.vocabulary_size || whole.shape().front() <= *info.vocabulary_size) return whole;
      return Narrow(whole, 0, 0, *info.vocabulary_size);
    }
    default:
      return Concat(parts, 0);
  }
}

Result<SourceTensor> JoinTensor(const std::vector<const SourceTensor*>& parts, Join join,
                                const TensorParallelInfo& info) {
  const SourceTensor& first = *parts.front();
  if (join == Join::kNotSupported)
    return Fail(
        ErrorCode::kUnsupported,
        fmt::format("{}: tensor {} has parts that are nested or uneven; expected equal parts along one axis",
                    first.file, Quoted(first.name)),
        "convert it with DeepSpeed's ds_to_universal and mount the result");
  std::vector<TensorView> views;
  views.reserve(parts.size());
  for (const SourceTensor* part : parts) views.push_back(part->view);
  Result<TensorView> joined = first.view.shape().empty() ? first.view : JoinViews(views, join, info);
  if (!joined) {
    Error error = joined.error().Within(fmt::format("{}: tensor {}", first.file, Quoted(first.name)));
    if (error.code == ErrorCode::kInvalidArgument) error.code = ErrorCode::kCorrupt;
    return std::unexpected(std::move(error));
  }
  return SourceTensor{first.name, *std::move(joined), first.storage,
                      NameRange(first.file, parts.back()->file)};
}

}  // namespace

Result<Checkpoint> JoinTensorParallel(std::vector<Checkpoint> ranks, const TensorParallelInfo& info,
                                      const std::set<std::string>& buffers) {
  WEIGHTFS_TRY(const JoinRules rules, JoinRules::Make(info));
  std::vector<std::unordered_map<std::string_view, const SourceTensor*>> places(ranks.size());
  for (size_t rank = 0; rank < ranks.size(); ++rank)
    for (const SourceTensor& tensor : ranks[rank].tensors) places[rank].emplace(tensor.name, &tensor);
  for (size_t rank = 1; rank < ranks.size(); ++rank)
    for (const SourceTensor& tensor : ranks[rank].tensors)
      if (!places[0].contains(tensor.name))
        return Fail(ErrorCode::kNotFound,
                    fmt::format("{}: tensor {} has no part on tensor-parallel rank 0; expected one "
                                "on each of {}",
                                tensor.file, Quoted(tensor.name), ranks.size()));
  std::vector<SourceTensor> joined;
  for (const SourceTensor& tensor : ranks.front().tensors) {
    std::vector<const SourceTensor*> parts;
    for (size_t rank = 0; rank < ranks.size(); ++rank) {
      const auto part = places[rank].find(tensor.name);
      if (part == places[rank].end())
        return Fail(ErrorCode::kNotFound,
                    fmt::format("{}: tensor {} has no part on tensor-parallel rank {}; expected "
                                "one on each of {}",
                                tensor.file, Quoted(tensor.name), rank, ranks.size()));
      parts.push_back(part->second);
    }
    const Join join = buffers.contains(tensor.name) ? Join::kReplicated : rules.Of(tensor.name);
    WEIGHTFS_TRY(SourceTensor whole, JoinTensor(parts, join, info));
    joined.push_back(std::move(whole));
  }
  Checkpoint result = std::move(ranks.front());
  result.tensors = std::move(joined);
  for (size_t rank = 1; rank < ranks.size(); ++rank) {
    result.metadata_bytes += ranks[rank].metadata_bytes;
    std::ranges::move(ranks[rank].warnings, std::back_inserter(result.warnings));
  }
  return result;
}

}  // namespace weightfs
