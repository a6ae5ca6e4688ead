/// \file
/// What names and functions mean when a table is applied: indices of the line, named values, metadata,
/// options, tensors of the source.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "convert/family/expression.h"
#include "convert/family/family.h"
#include "convert/family/source_index.h"
#include "convert/family/table.h"

namespace weightfs::family {

/// The values of a table's options, with what the user said, as a mapping.
/// \error kInvalidArgument  an option that the table does not have, or a value it does not take;
/// `--vocab-size` or
///                          `--trim-vocab` where no expression of the table looks at it
Result<nlohmann::json> OptionValues(const FamilyTable& table, const FamilyOptions& options);

/// Names: indices and sizes of the current line, then named values, each evaluated once, then the roots that
/// the derived class has. Not thread-safe.
class ScopedEnvironment : public Environment {
 public:
  using Names = std::vector<std::pair<std::string, Value>>;

  ScopedEnvironment(const FamilyTable& table, nlohmann::json options, Budget& budget);

  Result<Value> Name(std::string_view name) final;
  Result<const re2::RE2*> Pattern(const std::string& text) final;

  /// The indices of the current line; innermost last.
  Names indices;
  /// The sizes that the current line defines (`with`).
  Names sizes;

  /// The size of an axis: of `sizes`, else of a named value. Nothing when neither has it.
  /// \error kCorrupt  it is no integer from 0 on
  Result<std::optional<uint64_t>> AxisSize(const std::string& axis);

  /// The value of an expression that a template made, parsed once for each text.
  Result<Value> EvaluateText(const std::string& text);

  const FamilyTable& table() const { return table_; }

 protected:
  /// The expression behind a named value; nullptr when `name` is none.
  virtual const PlacedExpression* FindLet(std::string_view name) const { return table_.lets.Find(name); }
  /// A root that is neither an index nor a named value; nothing when `name` is none.
  virtual Result<std::optional<Value>> Root(std::string_view name) = 0;
  /// Told before and after a named value is evaluated.
  virtual void OnLet(const PlacedExpression& let, bool begins) {
    static_cast<void>(let);
    static_cast<void>(begins);
  }
  const nlohmann::json& options() const { return options_; }

 private:
  Result<Value> Let(const std::string& name, const PlacedExpression& let);

  const FamilyTable& table_;
  const nlohmann::json options_;
  struct LetState {
    bool is_done = false;
    Result<Value> value;
  };
  std::map<std::string, LetState, std::less<>> lets_;
  std::map<std::string, std::shared_ptr<const re2::RE2>, std::less<>> patterns_;
  std::map<std::string, Expression, std::less<>> expressions_;
};

/// Forwards: the names of a source, and its metadata. Everything given outlives this.
class SourceEnvironment final : public ScopedEnvironment {
 public:
  SourceEnvironment(const FamilyTable& table, const FamilyInput& input, SourceIndexes& indexes,
                    nlohmann::json options, Budget& budget)
      : ScopedEnvironment(table, std::move(options), budget), input_(input), indexes_(indexes) {}

  Result<Value> CallSource(Function function, std::span<const Value> arguments) override;
  /// The source's tensors under the names that the table rewrites them to.
  Result<const SourceIndex*> Index();

 protected:
  Result<std::optional<Value>> Root(std::string_view name) override;

 private:
  Result<Value> Metadata(const std::vector<MetadataPlace>& places) const;
  Result<Value> Tensor(Function function, std::span<const Value> arguments);
  Result<Value> Names(Function function, std::span<const Value> arguments);
  Result<Value> Count(std::span<const Value> pieces);
  Result<Value> Same(const std::string& a, const std::string& b);
  Result<size_t> Find(const std::string& name);

  const FamilyInput& input_;
  SourceIndexes& indexes_;
  std::map<std::string, Value, std::less<>> metadata_;
  std::map<std::string, Value, std::less<>> answers_;  // of functions that walk all names or read tensors
};

/// The value of `dim`, `ndim`, `parts`, `dtype` and `served_dtype` of one tensor.
Result<Value> TensorFact(Function function, std::span<const Value> arguments, const FamilyTensor& tensor,
                         const FamilyOptions& options);

}  // namespace weightfs::family
