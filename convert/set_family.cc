#include "convert/set_family.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

namespace weightfs {
namespace {

/// Metadata of a weight set: values stored with the tensors, and files beside them.
class SetMetadata final : public FamilyMetadata {
 public:
  SetMetadata(const nlohmann::json* values, MetadataFiles& files, std::string source)
      : values_(values), files_(files), source_(std::move(source)) {}

  Result<const nlohmann::json*> Values() const override { return values_; }
  Result<const nlohmann::json*> File(const std::string& name) const override {
    Result<const nlohmann::json*> file = files_.Read(name);
    if (!file && !failure_) failure_ = file.error();
    return file;
  }
  bool HasFile(const std::string& name) const override { return files_.Has(name); }
  std::string SourceName() const override { return source_; }
  /// The first file that was asked for and did not parse.
  const std::optional<Error>& failure() const { return failure_; }

 private:
  mutable std::optional<Error> failure_;
  const nlohmann::json* values_;
  MetadataFiles& files_;  ///< Parses and keeps what is asked for.
  std::string source_;
};

std::string KnownNames(const FamilyRegistry& registry) {
  std::string names = "auto, none";
  for (const auto& table : registry.tables())
    if (const FamilySummary family = Summarize(*table); !family.is_abstract)
      names.append(", ").append(family.name);
  return names;
}

std::vector<FamilyTensor> TensorsOf(const OpenedWeights& weights) {
  std::vector<FamilyTensor> tensors;
  tensors.reserve(weights.tensors().size());
  for (const OpenedWeights::Parts& parts : weights.tensors()) {
    FamilyTensor& tensor = tensors.emplace_back(FamilyTensor{parts.front()->name, {}});
    tensor.parts.reserve(parts.size());
    for (const SourceTensor* part : parts) tensor.parts.push_back(part->view);
  }
  return tensors;
}

Result<SetFamily> ServeAsStored(const OpenedWeights& weights, const std::string& shown) {
  if (weights.rank_count() > 1)
    return Fail(
        ErrorCode::kUnsupported,
        fmt::format("{}: the files of {} ranks, each with parts of the tensors; expected a family that "
                    "joins them, none fits",
                    shown, weights.rank_count()),
        "'weightfs families' lists those that are known; --family NAME chooses one");
  SetFamily family;
  family.tensors.reserve(weights.tensors().size());
  for (size_t i = 0; i < weights.tensors().size(); ++i) {
    const SourceTensor& tensor = *weights.tensors()[i].front();
    family.tensors.push_back({tensor.name, tensor.view, {i}, {}});
  }
  return family;
}

/// Options that only a family can take.
Status RefuseFamilyOptions(const OpenOptions& options, std::string_view why) {
  std::string option;
  if (options.trim_vocab) option = "--trim-vocab";
  if (options.vocab_size) option = "--vocab-size";
  if (!options.family_options.empty())
    option = fmt::format("--family {}:{}={}", options.family, options.family_options.begin()->first,
                         options.family_options.begin()->second);
  if (option.empty()) return {};
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("{}: does not apply: {}; expected a family that takes it", option, why));
}

Result<FamilyChoice> Choose(const FamilyRegistry& registry, const FamilyInput& input,
                            const OpenOptions& options) {
  if (options.family == kAutoFamily) return DetectFamily(registry, input);
  return FamilyChoice{registry.Find(options.family), {fmt::format("--family {}", options.family)}};
}

/// What is left of `options` for a model that `--family NAME` is not about.
OpenOptions WithoutFamily(OpenOptions options) {
  options.family = kAutoFamily;
  options.family_options.clear();
  options.vocab_size.reset();
  options.trim_vocab = false;
  return options;
}

}  // namespace

Status CheckFamilyOption(const FamilyRegistry& registry, const OpenOptions& options) {
  if (options.family == kAutoFamily || registry.Find(options.family) != nullptr) return {};
  if (options.family == kNoFamily) return RefuseFamilyOptions(options, "no family is chosen");
  return Fail(
      ErrorCode::kInvalidArgument,
      fmt::format("--family {}: there is no such family; expected {}", options.family, KnownNames(registry)),
      "'weightfs families' says what each is for");
}

Result<SetFamily> FindSetFamily(const OpenedWeights& weights, MetadataFiles& files, const std::string& source,
                                const std::string& shown, const FamilyRegistry& registry,
                                const OpenOptions& options, const SetSurroundings& surroundings) {
  if (options.family == kNoFamily) return ServeAsStored(weights, shown);
  const SetMetadata metadata(weights.first().values.get(), files, source);
  FamilyInput input;
  input.tensors = TensorsOf(weights);
  input.metadata = &metadata;
  input.options = {options.vocab_size, options.trim_vocab, options.dtype, options.family_options,
                   surroundings.told};
  input.limits = options.limits;
  if (surroundings.is_one_of_several && options.family != kAutoFamily &&
      !FitsFamily(*registry.Find(options.family), input))
    return FindSetFamily(weights, files, source, shown, registry, WithoutFamily(options),
                         {surroundings.told, false});
  Result<FamilyChoice> choice = Choose(registry, input, options);
  if (!choice) return std::unexpected(choice.error().Within(shown));
  if (choice->table == nullptr) {
    WEIGHTFS_CHECK(RefuseFamilyOptions(options, fmt::format("no family fits {}", shown)));
    // A condition on a file that does not parse does not hold: that may be why no family fits.
    const std::optional<Error>& failure = metadata.failure();
    if (failure && weights.rank_count() > 1) return std::unexpected(*failure);
    WEIGHTFS_TRY(SetFamily stored, ServeAsStored(weights, shown));
    if (failure) stored.notes.push_back(failure->message);
    return stored;
  }
  Result<FamilyResult> result = ApplyFamily(*choice->table, input);
  if (!result) return std::unexpected(result.error().Within(shown));
  SetFamily family;
  FamilySummary summary = Summarize(*choice->table);
  family.name = std::move(summary.name);
  family.has_training_config = summary.has_training_config;
  family.evidence = std::move(choice->evidence);
  family.tensors = std::move(result->tensors);
  family.dropped = std::move(result->dropped);
  family.config_json = std::move(result->config_json);
  family.generation_config_json = std::move(result->generation_config_json);
  family.notes = std::move(result->notes);
  family.target = std::move(result->target);
  family.folder = std::move(result->folder);
  family.pipeline = std::move(result->pipeline);
  return family;
}

}  // namespace weightfs
