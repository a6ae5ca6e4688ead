// SchemaReader: notes and the pipeline of a table.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "convert/family/schema_reader.h"

namespace weightfs::family {
namespace {

using Kind = JsonNode::Kind;

}  // namespace

Result<Note> SchemaReader::ReadNote(const JsonNode& node) const {
  WEIGHTFS_CHECK(document_.Expect(node, Kind::kObject));
  WEIGHTFS_CHECK(document_.ExpectKeys(node, {"when", "say"}));
  const JsonNode* when = node.Find("when");
  const JsonNode* say = node.Find("say");
  if (when == nullptr || say == nullptr) return At(node).Fail("a note; expected the keys when and say");
  WEIGHTFS_TRY(PlacedExpression condition, ReadExpression(*when));
  WEIGHTFS_TRY(PlacedExpression text, ReadTemplate(*say));
  return Note{std::move(condition), std::move(text)};
}

Status SchemaReader::CheckPath(const JsonNode& node, std::string_view path, bool may_have_folders) const {
  constexpr size_t kPathBytesMax = 255;
  bool is_path =
      !path.empty() && path.size() <= kPathBytesMax && !path.contains('\0') && !path.ends_with('/');
  if (!may_have_folders && path.contains('/')) is_path = false;
  for (size_t begin = 0; is_path && begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    if (end == begin || path[begin] == '.') is_path = false;
    begin = end + 1;
  }
  if (is_path) return {};
  return At(node).Fail(fmt::format("{}; expected the name of a {}, which does not begin with a dot",
                                   path.substr(0, 80),
                                   may_have_folders ? "file below the folder" : "folder"));
}

Result<Pipeline> SchemaReader::ReadPipeline(const JsonNode& node) const {
  WEIGHTFS_CHECK(document_.ExpectKeys(node, {"needs", "folders", "options", "files"}));
  Pipeline pipeline;
  const JsonNode* needs = node.Find("needs");
  if (needs == nullptr) return At(node).Fail("no key needs; expected the folders of the other parts");
  WEIGHTFS_CHECK(document_.Expect(*needs, Kind::kArray));
  for (const JsonNode* item : needs->items) {
    WEIGHTFS_TRY(pipeline.needs.emplace_back(), Text(*item));
    WEIGHTFS_CHECK(CheckPath(*item, pipeline.needs.back(), false));
  }
  for (const std::string_view key : {"folders", "options", "files"}) {
    const JsonNode* object = node.Find(key);
    if (object == nullptr) continue;
    WEIGHTFS_CHECK(document_.Expect(*object, Kind::kObject));
    for (const JsonNode* member : object->items) WEIGHTFS_CHECK(ReadPipelineMember(key, *member, pipeline));
  }
  return pipeline;
}

Status SchemaReader::ReadPipelineMember(std::string_view key, const JsonNode& member,
                                        Pipeline& pipeline) const {
  if (key != "files" && std::ranges::find(pipeline.needs, member.key) == pipeline.needs.end())
    return At(member).Fail(fmt::format("{} is not among needs", member.key));
  if (key == "folders") {
    WEIGHTFS_TRY(std::string other, Text(member));
    WEIGHTFS_CHECK(CheckPath(member, other, false));
    pipeline.folders.Set(member.key, std::move(other));
    return {};
  }
  WEIGHTFS_CHECK(document_.Expect(member, Kind::kObject));
  if (key == "options") {
    NamedList<PlacedExpression> options;
    for (const JsonNode* item : member.items) {
      WEIGHTFS_TRY(PlacedExpression value, ReadExpression(*item));
      options.Set(item->key, std::move(value));
    }
    pipeline.options.Set(member.key, std::move(options));
    return {};
  }
  WEIGHTFS_CHECK(CheckPath(member, member.key, true));
  NamedList<ConfigValuePtr> file;
  for (const JsonNode* item : member.items) {
    WEIGHTFS_TRY(ConfigValuePtr value, ReadConfigValue(*item));
    file.Set(item->key, std::move(value));
  }
  pipeline.files.Set(member.key, std::move(file));
  return {};
}

}  // namespace weightfs::family
