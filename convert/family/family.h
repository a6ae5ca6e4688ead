/// \file
/// Model families: from the tensors and metadata of a source to the tensors and config.json of a target
/// layout.
///
/// A family is a table (docs/families.md, docs/family.schema.json), never code. This header is the door of
/// the folder: load tables, detect which one fits, apply it, or apply it backwards. A family knows no file
/// format: it sees named tensors in parts, and documents of metadata.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/dtype.h"
#include "convert/base/limits.h"
#include "convert/base/result.h"
#include "convert/view/tensor_view.h"

namespace weightfs {

/// One tensor of a source under the name it has there, in the parts it is stored in.
struct FamilyTensor {
  std::string name;
  std::vector<TensorView> parts;  ///< In order of rank; one when the tensor is stored whole.
};

/// Where metadata is looked up. Lives as long as a FamilyInput that names it.
class FamilyMetadata {
 public:
  virtual ~FamilyMetadata() = default;
  /// The values stored beside the tensors (a pickle's other keys), an object; nullptr when there are none.
  virtual Result<const nlohmann::json*> Values() const = 0;
  /// The JSON, YAML or TOML file of this name beside the weights, parsed; nullptr when it is absent.
  /// `{number}` in `name` stands for the digits in the name of the weight file.
  /// \error kCorrupt, kLimitExceeded  it does not parse
  virtual Result<const nlohmann::json*> File(const std::string& name) const = 0;
  /// Whether a file of this name lies beside the weights.
  virtual bool HasFile(const std::string& name) const = 0;
  /// SOURCE as the user wrote it, for tables that look at its name.
  virtual std::string SourceName() const = 0;
};

/// What the user said about the family.
struct FamilyOptions {
  std::optional<uint64_t> vocab_size;         ///< `--vocab-size`
  bool trim_vocab = false;                    ///< `--trim-vocab`
  std::optional<DType> dtype;                 ///< `--dtype`: what floating tensors are served as.
  std::map<std::string, std::string> values;  ///< `--family NAME:KEY=VALUE`
  /// What the model that this one lies beside says of it. The user's word wins; options that the table lacks
  /// are passed over.
  std::map<std::string, std::string> told;
};

/// Everything a table is applied to.
struct FamilyInput {
  std::vector<FamilyTensor> tensors;         ///< In source order; names are unique.
  const FamilyMetadata* metadata = nullptr;  ///< Never null.
  FamilyOptions options;
  Limits limits;
};

/// One tensor of the target.
struct ProducedTensor {
  std::string name;
  TensorView view;              ///< Before `--dtype`; arithmetic of the table is done after that cast.
  std::vector<size_t> sources;  ///< Into FamilyInput::tensors; empty for a constant fill.
  std::string rule;             ///< The line that made it, for people: "(n k j) D -> (n j k) D".
};

/// A tensor of the source that the target does not have.
struct FamilyDrop {
  size_t source = 0;  ///< Into FamilyInput::tensors.
  std::string why;    ///< Of the table: "causal mask buffer".
};

/// A pipeline whose main part a model is. Folders lie beside that of the model.
struct FamilyPipeline {
  std::vector<std::string> needs;  ///< Folders of the other parts; empty: there is no pipeline.
  /// A needed folder, and another name that it may have. Of several that have one, the first is the model.
  std::vector<std::pair<std::string, std::string>> folders;
  /// By folder: options of the family of the part there.
  std::map<std::string, std::map<std::string, std::string>> options;
  std::vector<std::pair<std::string, std::string>> files;  ///< Path and text, made when all parts are there.
};

/// What a table makes of a source.
struct FamilyResult {
  std::vector<ProducedTensor> tensors;  ///< In the order of the table's lines; names are unique.
  std::vector<FamilyDrop> dropped;
  std::string config_json;             ///< Text of config.json; empty when the table derives none.
  std::string generation_config_json;  ///< Likewise.
  std::vector<std::string> notes;      ///< Things a user should be told, one line each.
  std::string target;                  ///< The layout: "hf" or "diffusers".
  std::string folder;                  ///< In which the model is served; empty: where it lies.
  FamilyPipeline pipeline;
};

struct FamilyTable;  // table.h

/// The tables that are known. Immutable once built; thread-safe.
class FamilyRegistry {
 public:
  /// The tables that are built in.
  /// \error kInternal  one of them does not load: a build that skipped its own check
  static Result<FamilyRegistry> BuiltIn();

  /// These and those of a rules file (`--rules`): one table, or `{"families": [...]}`. A table of a name that
  /// is known replaces it.
  /// \param file  for messages: "FILE:LINE: KEY: what; expected what"
  /// \error kInvalidArgument  not JSON, not the schema, a pattern, template or expression that does not
  /// parse, an
  ///                          `extends` that names no table or itself
  Status AddRules(std::string_view text, const std::string& file);

  /// Sorted by name.
  const std::vector<std::shared_ptr<const FamilyTable>>& tables() const { return tables_; }
  /// nullptr when there is none of that name.
  std::shared_ptr<const FamilyTable> Find(std::string_view name) const;
  /// File name patterns under which weights lie in a folder (`weights` of every table).
  std::vector<std::string> WeightPatterns() const;

 private:
  std::vector<std::shared_ptr<const FamilyTable>> tables_;
};

/// The table that fits, and why.
struct FamilyChoice {
  std::shared_ptr<const FamilyTable> table;  ///< nullptr: none fits.
  std::vector<std::string> evidence;         ///< One line each: what the table's conditions saw.
};

/// Chooses by evidence (`auto`): the table all of whose conditions hold. One that extends another wins over
/// it.
/// \error kAmbiguous  two fit: lists them, what each saw, and `--family`
Result<FamilyChoice> DetectFamily(const FamilyRegistry& registry, const FamilyInput& input);

/// Whether all conditions of `table` hold.
bool FitsFamily(const FamilyTable& table, const FamilyInput& input);

/// Applies `table`. No tensor byte is read but those of small replicas that must be equal, and of tensors
/// that the table asks to compare.
/// \error kCorrupt          a check of the table fails, a shape contradicts it (names tensor, expression and
/// both
///                          values), an unmatched source tensor (with the nearest rule), elements read twice
///                          or never
/// \error kNotFound         a source tensor that the target needs is missing: names both
/// \error kInvalidArgument  an option that the table does not know, or a value it does not take; a fault of a
///                          user's table (with file, line and key)
Result<FamilyResult> ApplyFamily(const FamilyTable& table, const FamilyInput& input);

/// Applies `table` backwards: from the target's tensors to the native ones.
struct ReverseInput {
  std::vector<FamilyTensor> tensors;       ///< Of the target, one part each.
  const nlohmann::json* config = nullptr;  ///< config.json of the target.
  uint64_t parts = 1;                      ///< How many ranks the native checkpoint has.
  FamilyOptions options;
  Limits limits;
};
struct ReverseResult {
  /// Native tensors in the order of the lines that make them; each in `parts` parts when its line marks a cut
  /// or it is replicated.
  std::vector<FamilyTensor> tensors;
};
/// \error kUnsupported      a line that does not invert: names it and why
/// \error kCorrupt, kNotFound, kInvalidArgument  as ApplyFamily
Result<ReverseResult> ReverseFamily(const FamilyTable& table, const ReverseInput& input);

/// For people and scripts: `weightfs families`.
struct FamilySummary {
  std::string name, title, source, target;
  std::vector<std::string> evidence;                         ///< The conditions, as written.
  std::vector<std::pair<std::string, std::string>> options;  ///< `KEY=DEFAULT`, help.
  bool is_user = false;                                      ///< From a rules file.
  bool is_abstract = false;                                  ///< Only there to be extended.
  bool has_training_config = false;  ///< Its settings lie below keys of a config.json: it is a trainer's own.
};
FamilySummary Summarize(const FamilyTable& table);

/// The whole table readably: `weightfs families NAME`.
std::string DescribeTable(const FamilyTable& table);

}  // namespace weightfs
