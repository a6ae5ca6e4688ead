#include "convert/served_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "convert/base/relative_path.h"
#include "convert/target/hf/pass_through.h"
#include "convert/target/hf/safetensors_layout.h"
#include "convert/target/hf/shard_plan.h"

namespace weightfs {
namespace {

/// Every tensor that no target can carry must have been dropped by the user.
Status CheckUnsupported(const Checkpoint& checkpoint, const NameFilter& filter,
                        std::vector<DroppedTensor>& dropped) {
  std::string causes;
  for (const UnsupportedTensor& tensor : checkpoint.unsupported) {
    std::string rule = filter.DroppedBy(tensor.name);
    if (rule.empty()) {
      if (!causes.empty()) causes += '\n';
      causes += fmt::format("{}: tensor {}: {}; expected a tensor that safetensors can carry", tensor.file,
                            tensor.name, tensor.reason);
    } else {
      dropped.push_back({tensor.name, tensor.file, std::move(rule)});
    }
  }
  if (causes.empty()) return {};
  return Fail(ErrorCode::kUnsupported, std::move(causes), "leave such tensors out with --exclude PATTERN");
}

/// The tensors that stay, in source order, cast as asked for.
Result<std::vector<ServedTensor>> ChooseTensors(const Checkpoint& checkpoint, const NameFilter& filter,
                                                std::optional<DType> dtype,
                                                std::vector<DroppedTensor>& dropped) {
  std::vector<ServedTensor> served;
  served.reserve(checkpoint.tensors.size());
  for (size_t i = 0; i < checkpoint.tensors.size(); ++i) {
    const SourceTensor& tensor = checkpoint.tensors[i];
    if (std::string rule = filter.DroppedBy(tensor.name); !rule.empty()) {
      dropped.push_back({tensor.name, tensor.file, std::move(rule)});
      continue;
    }
    TensorView view = tensor.view;
    if (dtype && IsCastable(view.dtype())) {
      WEIGHTFS_TRY(view, view.Cast(*dtype));
    }
    served.push_back({tensor.name, std::move(view), i});
  }
  return served;
}

TensorReport ReportTensor(const ServedTensor& served, const SourceTensor& source, std::string file,
                          uint64_t offset_bytes) {
  TensorReport report;
  report.name = served.name;
  report.file = std::move(file);
  report.file_offset_bytes = offset_bytes;
  report.view = served.view;
  report.source_name = source.name;
  report.source_file = source.file;
  report.storage = source.storage;
  return report;
}

/// The source file itself is the file to serve: the tensors lie where they lie.
void ServeUnchanged(const WeightSet& set, const Checkpoint& checkpoint, std::span<const ServedTensor> served,
                    const std::string& file_name, const FilePtr& file, ServedSet& result) {
  const std::string path = JoinPath(set.folder, file_name);
  const RandomAccessFile::Location whole = file->location();
  for (const ServedTensor& tensor : served) {
    // Positions count from the first byte of the file that is served; compressed bytes have no place on disk.
    const std::optional<ByteRange> range = tensor.view.IdentityRange();
    uint64_t offset_bytes = range ? range->begin : 0;
    const RandomAccessFile::Location location = tensor.view.storage()->location();
    if (location.file != nullptr && location.file == whole.file)
      offset_bytes += location.offset_bytes - whole.offset_bytes;
    result.tensors.push_back(
        ReportTensor(tensor, checkpoint.tensors[tensor.source_index], path, offset_bytes));
  }
  result.report.passed_through = true;
  result.report.files.push_back(path);
  result.files.emplace_back(path, MakePassThroughFile(file));
}

Status ServeShard(const WeightSet& set, const Checkpoint& checkpoint, std::span<const ServedTensor> served,
                  const Shard& shard, const OpenOptions& options, const std::shared_ptr<BlockCache>& cache,
                  ServedSet& result) {
  const std::string path = JoinPath(set.folder, shard.file_name);
  WEIGHTFS_TRY(SafetensorsLayout layout, PlanSafetensors(served, shard.tensors, path, options.limits));
  std::vector<TensorView> views;
  views.reserve(layout.order.size());
  for (size_t i = 0; i < layout.order.size(); ++i) {
    const ServedTensor& tensor = served[layout.order[i]];
    views.push_back(tensor.view);
    result.tensors.push_back(
        ReportTensor(tensor, checkpoint.tensors[tensor.source_index], path, layout.offsets_bytes[i]));
  }
  WEIGHTFS_TRY(VirtualFilePtr file, MakeViewFile(std::move(layout.header), std::move(views), cache));
  result.report.files.push_back(path);
  result.files.emplace_back(path, std::move(file));
  std::move(layout.warnings.begin(), layout.warnings.end(), std::back_inserter(result.notes));
  return {};
}

void MarkAliases(std::span<const ServedTensor> served, ServedSet& result) {
  const AliasReport aliases = FindAliases(served);
  result.report.alias_bytes = aliases.alias_bytes;
  if (aliases.alias_count == 0) return;
  std::vector<std::string_view> names;
  for (size_t i = 0; i < served.size(); ++i)
    if (aliases.first[i] != i) names.push_back(served[i].name);
  std::sort(names.begin(), names.end());
  for (TensorReport& tensor : result.tensors)
    tensor.is_alias = std::binary_search(names.begin(), names.end(), tensor.name);
  result.notes.push_back(
      fmt::format("{}: {} tensor{} ({} bytes) repeat{} the elements of others; loaders tie them again, the "
                  "disk holds them once",
                  result.report.files.front(), aliases.alias_count, aliases.alias_count == 1 ? "" : "s",
                  aliases.alias_bytes, aliases.alias_count == 1 ? "s" : ""));
}

WeightSetReport StartReport(const WeightSet& set, const Checkpoint& checkpoint) {
  WeightSetReport report;
  report.folder = set.folder;
  report.format = checkpoint.format;
  report.source_files = set.shards;
  report.candidates = checkpoint.candidates;
  report.left_out = checkpoint.left_out;
  report.metadata = checkpoint.metadata;
  return report;
}

}  // namespace

Result<ServedSet> ServeSet(const WeightSet& set, const Checkpoint& checkpoint, const FilePtr& pass_through,
                           const NameFilter& filter, const OpenOptions& options,
                           const std::shared_ptr<BlockCache>& cache) {
  ServedSet result;
  result.report = StartReport(set, checkpoint);
  result.notes = checkpoint.warnings;
  WEIGHTFS_CHECK(CheckUnsupported(checkpoint, filter, result.dropped));
  WEIGHTFS_TRY(const std::vector<ServedTensor> served,
               ChooseTensors(checkpoint, filter, options.dtype, result.dropped));
  if (served.empty() && !result.dropped.empty())
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: --include and --exclude drop all {} tensors; expected at least one to stay",
                            JoinPath(set.folder, set.stem), result.dropped.size()));

  WEIGHTFS_TRY(const ShardPlan plan, PlanShards(served, set.stem, set.variant, options.max_shard_size_bytes));
  if (pass_through != nullptr && plan.shards.size() == 1 && !options.dtype &&
      ServesUnchanged(checkpoint, served)) {
    ServeUnchanged(set, checkpoint, served, plan.shards[0].file_name, pass_through, result);
  } else {
    for (const Shard& shard : plan.shards)
      WEIGHTFS_CHECK(ServeShard(set, checkpoint, served, shard, options, cache, result));
    if (!plan.index_name.empty())
      result.files.emplace_back(JoinPath(set.folder, plan.index_name), MakeTextFile(plan.index_json));
  }
  result.report.tensor_count = served.size();
  for (const ServedTensor& tensor : served) result.report.tensor_bytes += tensor.view.size_bytes();
  MarkAliases(served, result);
  return result;
}

}  // namespace weightfs
