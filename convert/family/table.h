/// \file
/// A parsed family table. Made by the loader (table_loader.h), immutable afterwards, safe to share between
/// threads.
#pragma once

#include <re2/re2.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "convert/family/expression.h"
#include "convert/family/family.h"
#include "convert/family/located_json.h"
#include "convert/family/rearrangement.h"

namespace weightfs::family {

/// An expression or template, and where it is written.
struct PlacedExpression {
  Expression expression;
  Place place;

  const std::string& text() const { return expression.text(); }
  /// The failure of its evaluation, with the place unless it has one.
  std::unexpected<Error> Explain(Error error) const;
  Result<Value> Evaluate(Environment& environment) const;
  Result<bool> EvaluateCondition(Environment& environment) const;
  Result<std::string> EvaluateText(Environment& environment) const;
};

/// A pattern for whole names.
struct PlacedPattern {
  std::string text;
  std::shared_ptr<const re2::RE2> pattern;
  Place place;
};

struct Condition {
  PlacedExpression that;
  std::string why;  ///< Empty when the table gives none.
};

/// The keys of `for` that go together, and what they run over.
struct Indices {
  std::vector<std::string> names;
  /// One expression: a count, or a list; two: begin and end. Empty: `tuples`.
  std::vector<Expression> range;
  std::vector<std::vector<Value>> tuples;  ///< Each as long as `names`.
  Place place;
};

/// A size of an axis of one line: a template whose text is an expression.
struct LocalSize {
  std::string name;
  PlacedExpression text;           ///< The template.
  std::optional<Expression> size;  ///< The expression, when the template fills nothing in.
};

/// One source of a line.
struct SourceTerm {
  PlacedExpression name;    ///< A template.
  std::vector<Step> steps;  ///< Done to it before several are joined; often none.
};

/// What a line does.
struct RearrangementLine {
  std::vector<SourceTerm> from;
  bool is_joined = false;             ///< `from` is a list.
  std::optional<uint64_t> join_axis;  ///< Of the list; nothing: stacked.
  std::vector<Step> steps;            ///< Done to the source, or to what was joined.
  std::string text;                   ///< Of the steps, for people.
  std::optional<double> scale, add;
  std::string trims;  ///< Empty: every element must be read.
};
struct FillLine {
  double value = 0;
  std::vector<PlacedExpression> shape;
  PlacedExpression dtype;
};
struct DropLine {
  PlacedPattern pattern;                      ///< Without `for`.
  std::optional<PlacedExpression> templated;  ///< The pattern as a template, with `for`.
  std::string why;
  std::optional<PlacedExpression> alias;
};
struct KeepLine {
  PlacedPattern pattern;
  std::string to;  ///< An RE2 rewrite; empty: the name stays.
};

struct Line {
  Place place;
  std::vector<Indices> indices;
  std::vector<LocalSize> sizes;
  std::optional<PlacedExpression> when;
  std::optional<PlacedExpression> to;  ///< Of rearrangements and fills.
  std::variant<RearrangementLine, FillLine, DropLine, KeepLine> kind;
};
using LinePtr = std::shared_ptr<const Line>;

/// One of `names`.
struct Rewrite {
  PlacedPattern pattern;
  std::string replacement;
};

/// One place of a metadata root.
struct MetadataPlace {
  std::string text;
  std::string file;               ///< Empty: what is stored beside the tensors.
  std::vector<std::string> keys;  ///< From there on.
};

struct Option {
  Value default_value;
  std::vector<Value> values;  ///< Empty: any of the default's type.
  std::string help;
  std::string assumed;  ///< Why the default is a guess, which users are told of; empty when it is none.
  Place place;
};

/// A value of config.json.
struct ConfigValue;
using ConfigValuePtr = std::shared_ptr<const ConfigValue>;
struct ConfigValue {
  struct Object {
    std::vector<std::pair<std::string, ConfigValuePtr>> members;
  };
  struct List {
    std::vector<ConfigValuePtr> items;
  };
  struct When {
    PlacedExpression condition;
    ConfigValuePtr value, otherwise;  ///< `otherwise` may be null.
  };
  struct For {
    std::vector<Indices> indices;
    ConfigValuePtr value;
  };
  Place place;
  std::variant<Value, PlacedExpression, Object, List, When, For> value;
};

/// Keys in order, each once.
template <typename T>
struct NamedList {
  std::vector<std::pair<std::string, T>> items;

  const T* Find(std::string_view name) const {
    for (const auto& [key, value] : items)
      if (key == name) return &value;
    return nullptr;
  }
  /// Puts `value` where the key is, or at the end.
  void Set(std::string name, T value) {
    for (auto& [key, old] : items) {
      if (key != name) continue;
      old = std::move(value);
      return;
    }
    items.emplace_back(std::move(name), std::move(value));
  }
  void Remove(std::string_view name) {
    std::erase_if(items, [&](const auto& item) { return item.first == name; });
  }
};

/// What users are told when it holds.
struct Note {
  PlacedExpression when;
  PlacedExpression say;  ///< A template.
};

/// A pipeline whose main part the model is. Folders lie beside that of the model.
struct Pipeline {
  std::vector<std::string> needs;                  ///< Folders of the other parts.
  NamedList<std::string> folders;                  ///< A needed folder, and another name that it may have.
  NamedList<NamedList<PlacedExpression>> options;  ///< By folder: of the family of the part there.
  NamedList<NamedList<ConfigValuePtr>> files;      ///< By path: JSON that is made when all parts are there.
};

}  // namespace weightfs::family

namespace weightfs {

struct FamilyTable {
  std::string name, title, source, target;
  std::string folder;  ///< In which the model is served; empty: where it lies.
  family::Place place;
  bool is_abstract = false;
  bool is_user = false;
  std::vector<std::string> ancestors;  ///< What it extends, what that extends, ...
  std::vector<std::string> weights;
  std::vector<family::Condition> detect;
  std::vector<family::Rewrite> names;
  family::NamedList<std::vector<family::MetadataPlace>> metadata;
  family::NamedList<family::Option> options;
  family::NamedList<family::PlacedExpression> lets;
  std::vector<family::Condition> checks;
  std::vector<family::LinePtr> lines;
  family::NamedList<family::ConfigValuePtr> config, generation_config;
  bool has_config = false, has_generation_config = false;
  std::vector<family::Note> notes;
  family::Pipeline pipeline;
  family::NamedList<family::PlacedExpression> reverse_lets;
};

}  // namespace weightfs
