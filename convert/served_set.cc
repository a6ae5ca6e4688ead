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

/// One weight set on its way to files: what all steps look at.
struct SetContext {
  const WeightSet& set;
  const OpenedWeights& weights;
  const SetFamily& family;
  const OpenOptions& options;
  const std::shared_ptr<BlockCache>& cache;
};

/// The file that holds the first part of a source tensor.
const std::string& FileOf(const OpenedWeights& weights, size_t source) {
  return weights.tensors()[source].front()->file;
}

/// The tensors that stay, in the family's order, cast as asked for. `source_index` counts the family's
/// tensors.
Result<std::vector<ServedTensor>> ChooseTensors(const SetContext& context, const NameFilter& filter,
                                                std::vector<DroppedTensor>& dropped) {
  const std::optional<DType> dtype = context.options.dtype;
  std::vector<ServedTensor> served;
  served.reserve(context.family.tensors.size());
  for (size_t i = 0; i < context.family.tensors.size(); ++i) {
    const ProducedTensor& tensor = context.family.tensors[i];
    if (std::string rule = filter.DroppedBy(tensor.name); !rule.empty()) {
      const std::string file = tensor.sources.empty() ? "" : FileOf(context.weights, tensor.sources.front());
      dropped.push_back({tensor.name, file, std::move(rule)});
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

/// Whether the one file of the set already is the file to serve.
bool IsUnchanged(const SetContext& context, std::span<const ServedTensor> served) {
  if (context.options.dtype || context.weights.rank_count() != 1) return false;
  std::vector<ServedTensor> by_source(served.begin(), served.end());
  for (ServedTensor& tensor : by_source) {
    const std::vector<size_t>& sources = context.family.tensors[tensor.source_index].sources;
    if (sources.size() != 1) return false;
    tensor.source_index = sources.front();
  }
  return ServesUnchanged(context.weights.first(), by_source);
}

TensorReport ReportTensor(const SetContext& context, const ServedTensor& served, std::string file,
                          uint64_t offset_bytes) {
  const ProducedTensor& produced = context.family.tensors[served.source_index];
  TensorReport report;
  report.name = served.name;
  report.file = std::move(file);
  report.file_offset_bytes = offset_bytes;
  report.view = served.view;
  report.rule = produced.rule;
  for (const size_t source : produced.sources)
    for (const SourceTensor* part : context.weights.tensors()[source])
      report.sources.push_back({part->name, part->file, part->storage, part->view});
  return report;
}

/// The source file itself is the file to serve: the tensors lie where they lie.
void ServeUnchanged(const SetContext& context, std::span<const ServedTensor> served,
                    const std::string& file_name, const FilePtr& file, ServedSet& result) {
  const std::string path = JoinPath(context.set.folder, file_name);
  const RandomAccessFile::Location whole = file->location();
  for (const ServedTensor& tensor : served) {
    // Positions count from the first byte of the file that is served; compressed bytes have no place on disk.
    const std::optional<ByteRange> range = tensor.view.IdentityRange();
    uint64_t offset_bytes = range ? range->begin : 0;
    const RandomAccessFile::Location location = tensor.view.storage()->location();
    if (location.file != nullptr && location.file == whole.file)
      offset_bytes += location.offset_bytes - whole.offset_bytes;
    result.tensors.push_back(ReportTensor(context, tensor, path, offset_bytes));
  }
  result.report.passed_through = true;
  result.report.files.push_back(path);
  result.files.emplace_back(path, MakePassThroughFile(file));
}

Status ServeShard(const SetContext& context, std::span<const ServedTensor> served, const Shard& shard,
                  ServedSet& result) {
  const std::string path = JoinPath(context.set.folder, shard.file_name);
  WEIGHTFS_TRY(SafetensorsLayout layout,
               PlanSafetensors(served, shard.tensors, path, context.options.limits));
  std::vector<TensorView> views;
  views.reserve(layout.order.size());
  for (size_t i = 0; i < layout.order.size(); ++i) {
    const ServedTensor& tensor = served[layout.order[i]];
    views.push_back(tensor.view);
    result.tensors.push_back(ReportTensor(context, tensor, path, layout.offsets_bytes[i]));
  }
  WEIGHTFS_TRY(VirtualFilePtr file, MakeViewFile(std::move(layout.header), std::move(views), context.cache));
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

WeightSetReport StartReport(const SetContext& context) {
  const Checkpoint& checkpoint = context.weights.first();
  WeightSetReport report;
  report.folder = context.set.folder;
  report.format = checkpoint.format;
  report.source_files = context.set.shards;
  report.rank_count = context.weights.rank_count();
  if (context.family.name != kNoFamily) report.family = context.family.name;
  report.family_evidence = context.family.evidence;
  report.candidates = checkpoint.candidates;
  report.left_out = checkpoint.left_out;
  report.metadata = checkpoint.metadata;
  return report;
}

}  // namespace

Status CheckUnsupported(const OpenedWeights& weights, const NameFilter& filter,
                        std::vector<DroppedTensor>& dropped) {
  std::string causes;
  for (const UnsupportedTensor& tensor : weights.unsupported()) {
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

Result<ServedSet> ServeSet(const WeightSet& set, const OpenedWeights& weights, const SetFamily& family,
                           const FilePtr& pass_through, const NameFilter& filter, const OpenOptions& options,
                           const std::shared_ptr<BlockCache>& cache) {
  const SetContext context = {set, weights, family, options, cache};
  ServedSet result;
  result.report = StartReport(context);
  result.notes = weights.first().warnings;
  result.notes.insert(result.notes.end(), family.notes.begin(), family.notes.end());
  for (const FamilyDrop& drop : family.dropped)
    for (const SourceTensor* part : weights.tensors()[drop.source])
      result.dropped.push_back({part->name, part->file, drop.why});
  const size_t dropped_by_family = result.dropped.size();
  WEIGHTFS_TRY(const std::vector<ServedTensor> served, ChooseTensors(context, filter, result.dropped));
  const size_t dropped_by_filter = result.dropped.size() - dropped_by_family + weights.unsupported().size();
  if (served.empty() && dropped_by_filter > 0)
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: --include and --exclude drop all {} tensors; expected at least one to stay",
                            JoinPath(set.folder, set.stem), dropped_by_filter));

  WEIGHTFS_TRY(const ShardPlan plan, PlanShards(served, set.stem, set.variant, options.max_shard_size_bytes));
  if (pass_through != nullptr && plan.shards.size() == 1 && IsUnchanged(context, served)) {
    ServeUnchanged(context, served, plan.shards[0].file_name, pass_through, result);
  } else {
    for (const Shard& shard : plan.shards) WEIGHTFS_CHECK(ServeShard(context, served, shard, result));
    if (!plan.index_name.empty())
      result.files.emplace_back(JoinPath(set.folder, plan.index_name), MakeTextFile(plan.index_json));
  }
  result.report.tensor_count = served.size();
  for (const ServedTensor& tensor : served) result.report.tensor_bytes += tensor.view.size_bytes();
  MarkAliases(served, result);
  return result;
}

}  // namespace weightfs
