#include "convert/family/table_loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <map>
#include <utility>

#include "convert/family/pipeline.h"
#include "convert/family/schema_reader.h"

namespace weightfs::family {
namespace {

using Kind = JsonNode::Kind;

constexpr size_t kAncestorsMax = 16;

/// A table that is read, or will be when another extends it.
struct PendingTable {
  const LocatedJson* document = nullptr;
  const JsonNode* node = nullptr;
  std::string name;
  bool is_open = false;  ///< It is being read: to meet it again is a circle.
  TablePtr table;
};

Status CheckFamilyName(const Place& place, std::string_view name) {
  const bool is_name = !name.empty() && name.size() <= 64 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
  if (is_name && name != "auto" && name != "none") return {};
  return place.Fail(fmt::format(
      "the name {}; expected lower case letters, digits and -, and not auto or none", name.substr(0, 80)));
}

/// Reads `node`, an object whose members are merged into `list` by key: a null takes an inherited key away.
template <typename T, typename Reader>
Status MergeMembers(const SchemaReader& reader, const JsonNode* node, bool keeps_null, NamedList<T>& list,
                    Reader read) {
  if (node == nullptr) return {};
  WEIGHTFS_CHECK(reader.document().Expect(*node, Kind::kObject));
  const size_t inherited = list.items.size();
  for (const JsonNode* member : node->items) {
    const bool is_inherited = inherited > 0 && list.Find(member->key) != nullptr;
    if (member->Is(Kind::kNull) && is_inherited) {
      list.Remove(member->key);
      continue;
    }
    if (member->Is(Kind::kNull) && !keeps_null)
      return reader.At(*member).Fail("null takes an inherited key away, and none of this name is inherited");
    WEIGHTFS_TRY(T value, read(*member));
    list.Set(member->key, std::move(value));
  }
  return {};
}

/// Appends what `read` makes of the items of `node`.
template <typename T, typename Reader>
Status AppendItems(const SchemaReader& reader, const JsonNode* node, std::vector<T>& list, Reader read) {
  if (node == nullptr) return {};
  WEIGHTFS_CHECK(reader.document().Expect(*node, Kind::kArray));
  for (const JsonNode* item : node->items) {
    WEIGHTFS_TRY(list.emplace_back(), read(*item));
  }
  return {};
}

/// What a table starts from: what is inherited of `base`.
FamilyTable Inherit(const FamilyTable* base) {
  FamilyTable table;
  if (base == nullptr) return table;
  table = *base;
  table.title.clear();
  table.source.clear();
  table.weights.clear();
  table.detect.clear();
  table.is_abstract = false;
  table.ancestors.insert(table.ancestors.begin(), base->name);
  return table;
}

Status ReadTexts(const SchemaReader& reader, const JsonNode& node, FamilyTable& table) {
  for (const auto& [key, text] :
       {std::pair("title", &table.title), {"source", &table.source}, {"target", &table.target}}) {
    if (const JsonNode* member = node.Find(key)) {
      WEIGHTFS_TRY(*text, reader.Text(*member));
    }
  }
  if (const JsonNode* is_abstract = node.Find("abstract")) {
    WEIGHTFS_TRY(table.is_abstract, reader.Boolean(*is_abstract));
  }
  const JsonNode* target = node.Find("target");
  if (!table.target.empty() && table.target != kHuggingFace && table.target != kDiffusers)
    return reader.At(target != nullptr ? *target : node)
        .Fail(fmt::format("the target {}; expected hf or diffusers", table.target));
  if (const JsonNode* folder = node.Find("folder")) {
    WEIGHTFS_TRY(table.folder, reader.Text(*folder));
    WEIGHTFS_CHECK(reader.CheckPath(*folder, table.folder, false));
  }
  if (table.is_abstract) return {};
  for (const auto& [key, text] :
       {std::pair("title", &table.title), {"source", &table.source}, {"target", &table.target}})
    if (text->empty())
      return reader.At(node).Fail(fmt::format("no key {}; expected one line of text there", key));
  return {};
}

Status ReadNamed(const SchemaReader& reader, const JsonNode& node, FamilyTable& table) {
  const auto named = [&](const auto& read) {
    return [&reader, read](const JsonNode& member) -> decltype(read(member)) {
      WEIGHTFS_CHECK(reader.CheckName(member, member.key));
      return read(member);
    };
  };
  const auto expression = [&](const JsonNode& member) { return reader.ReadExpression(member); };
  const auto config = [&](const JsonNode& member) { return reader.ReadConfigValue(member); };
  WEIGHTFS_CHECK(
      MergeMembers(reader, node.Find("metadata"), false, table.metadata,
                   named([&](const JsonNode& member) { return reader.ReadMetadataRoot(member); })));
  WEIGHTFS_CHECK(MergeMembers(reader, node.Find("options"), false, table.options,
                              named([&](const JsonNode& member) { return reader.ReadOption(member); })));
  WEIGHTFS_CHECK(MergeMembers(reader, node.Find("let"), false, table.lets, named(expression)));
  WEIGHTFS_CHECK(MergeMembers(reader, node.Find("config"), true, table.config, config));
  WEIGHTFS_CHECK(MergeMembers(reader, node.Find("generation_config"), true, table.generation_config, config));
  table.has_config |= node.Find("config") != nullptr;
  table.has_generation_config |= node.Find("generation_config") != nullptr;
  const JsonNode* reverse = node.Find("reverse");
  if (reverse == nullptr) return {};
  WEIGHTFS_CHECK(reader.document().ExpectKeys(*reverse, {"let"}));
  return MergeMembers(reader, reverse->Find("let"), false, table.reverse_lets, named(expression));
}

Result<TablePtr> ReadTable(const LocatedJson& document, const JsonNode& node, const FamilyTable* base,
                           bool is_user) {
  constexpr size_t kLinesMax = 4096, kRewritesMax = 64;
  const SchemaReader reader(document);
  WEIGHTFS_CHECK(document.ExpectKeys(
      node,
      {"family",  "title",    "source",  "target",  "extends", "abstract", "weights", "detect",
       "names",   "metadata", "options", "let",     "check",   "tensors",  "config",  "generation_config",
       "reverse", "folder",   "notes",   "pipeline"}));
  FamilyTable table = Inherit(base);
  table.name = node.Find("family")->text;
  table.place = reader.At(node);
  table.is_user = is_user;
  WEIGHTFS_CHECK(ReadTexts(reader, node, table));
  WEIGHTFS_CHECK(ReadNamed(reader, node, table));
  const auto condition = [&](const JsonNode& item) { return reader.ReadCondition(item); };
  WEIGHTFS_CHECK(AppendItems(reader, node.Find("weights"), table.weights,
                             [&](const JsonNode& item) { return reader.ReadWeightsName(item); }));
  WEIGHTFS_CHECK(AppendItems(reader, node.Find("detect"), table.detect, condition));
  WEIGHTFS_CHECK(AppendItems(reader, node.Find("names"), table.names,
                             [&](const JsonNode& item) { return reader.ReadRewrite(item); }));
  WEIGHTFS_CHECK(AppendItems(reader, node.Find("check"), table.checks, condition));
  WEIGHTFS_CHECK(AppendItems(reader, node.Find("tensors"), table.lines,
                             [&](const JsonNode& item) { return reader.ReadLine(item); }));
  WEIGHTFS_CHECK(AppendItems(reader, node.Find("notes"), table.notes,
                             [&](const JsonNode& item) { return reader.ReadNote(item); }));
  if (const JsonNode* pipeline = node.Find("pipeline")) {
    WEIGHTFS_TRY(table.pipeline, reader.ReadPipeline(*pipeline));
  }
  if (table.lines.size() > kLinesMax)
    return reader.At(node).Fail(fmt::format("{} lines; expected at most {}", table.lines.size(), kLinesMax));
  if (table.names.size() > kRewritesMax)
    return reader.At(node).Fail(
        fmt::format("{} rewrites of names; expected at most {}", table.names.size(), kRewritesMax));
  if (!table.is_abstract && table.detect.empty())
    return reader.At(node).Fail("no detect; expected conditions by which the family is known");
  if (!table.is_abstract && table.lines.empty())
    return reader.At(node).Fail("no tensors; expected the lines that make the target");
  WEIGHTFS_CHECK(CheckTable(table));
  return std::make_shared<const FamilyTable>(std::move(table));
}

/// The tables of several documents, each read after what it extends.
class Loader {
 public:
  Loader(std::span<const TablePtr> known, bool is_user) : known_(known), is_user_(is_user) {}

  Status AddDocument(const LocatedJson& document) {
    const JsonNode& root = document.root();
    WEIGHTFS_CHECK(document.Expect(root, Kind::kObject));
    const JsonNode* families = root.Find("families");
    if (families == nullptr) return AddTable(document, root);
    WEIGHTFS_CHECK(document.ExpectKeys(root, {"families"}));
    WEIGHTFS_CHECK(document.Expect(*families, Kind::kArray));
    for (const JsonNode* item : families->items) WEIGHTFS_CHECK(AddTable(document, *item));
    return {};
  }

  Result<std::vector<TablePtr>> Load() {
    std::vector<TablePtr> tables;
    for (PendingTable& pending : pending_) {
      WEIGHTFS_TRY(tables.emplace_back(), Read(pending, 0));
    }
    return tables;
  }

 private:
  Status AddTable(const LocatedJson& document, const JsonNode& node) {
    WEIGHTFS_CHECK(document.Expect(node, Kind::kObject));
    const JsonNode* name = node.Find("family");
    if (name == nullptr)
      return document.PlaceOf(node).Fail("no key family; expected the name of the family there");
    WEIGHTFS_CHECK(document.Expect(*name, Kind::kString));
    WEIGHTFS_CHECK(CheckFamilyName(document.PlaceOf(*name), name->text));
    PendingTable& pending = pending_.emplace_back();
    pending.document = &document;
    pending.node = &node;
    pending.name = name->text;
    const auto [other, is_new] = by_name_.emplace(pending.name, &pending);
    if (is_new) return {};
    return document.PlaceOf(*name).Fail(
        fmt::format("a second table {}; the first begins at {}", pending.name,
                    other->second->document->PlaceOf(*other->second->node).Describe()));
  }

  /// Recurses along `extends`, at most `kAncestorsMax` times.
  Result<TablePtr> Read(PendingTable& pending, size_t depth) {
    if (pending.table != nullptr) return pending.table;
    TablePtr base;
    const JsonNode* extends = pending.node->Find("extends");
    if (extends != nullptr) {
      pending.is_open = true;
      WEIGHTFS_TRY(base, FindBase(*pending.document, *extends, depth));
      pending.is_open = false;
    }
    WEIGHTFS_TRY(pending.table, ReadTable(*pending.document, *pending.node, base.get(), is_user_));
    return pending.table;
  }

  Result<TablePtr> FindBase(const LocatedJson& document, const JsonNode& extends, size_t depth) {
    WEIGHTFS_CHECK(document.Expect(extends, Kind::kString));
    const Place place = document.PlaceOf(extends);
    if (depth >= kAncestorsMax)
      return place.Fail(fmt::format("more than {} tables extend one another", kAncestorsMax));
    if (const auto found = by_name_.find(extends.text); found != by_name_.end()) {
      if (found->second->is_open)
        return place.Fail(fmt::format("{} extends itself, directly or by others", extends.text));
      return Read(*found->second, depth + 1);
    }
    for (const TablePtr& table : known_)
      if (table->name == extends.text) return table;
    return place.Fail(fmt::format("no table {}; expected the name of one", extends.text.substr(0, 80)));
  }

  std::span<const TablePtr> known_;
  bool is_user_;
  std::deque<PendingTable> pending_;
  std::map<std::string, PendingTable*, std::less<>> by_name_;
};

}  // namespace

Result<std::vector<TablePtr>> LoadTables(std::span<const TableText> texts, std::span<const TablePtr> known,
                                         bool is_user, const Limits& limits) {
  std::deque<LocatedJson> documents;
  Loader loader(known, is_user);
  for (const TableText& text : texts) {
    WEIGHTFS_TRY(documents.emplace_back(),
                 LocatedJson::Parse(text.text, text.file, limits.family_rules_bytes_max));
    WEIGHTFS_CHECK(loader.AddDocument(documents.back()));
  }
  return loader.Load();
}

}  // namespace weightfs::family
