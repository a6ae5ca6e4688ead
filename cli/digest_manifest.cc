#include "cli/digest_manifest.h"

#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <tuple>

#include "cli/inspect_tensor.h"
#include "cli/messages.h"
#include "convert/base/json.h"
#include "convert/version.h"

namespace weightfs::cli {
namespace {

constexpr uint64_t kManifestBytesMax = 512_MiB;
constexpr int kSchema = 1;

using Json = nlohmann::ordered_json;

/// A member of a JSON object that must be there, or nullptr.
const Json* Member(const Json& object, const char* key, Json::value_t type) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found != object.end() && found->type() == type ? &*found : nullptr;
}

Result<TensorDigest> TensorFromJson(const Json& entry) {
  TensorDigest tensor;
  const Json* const name = Member(entry, "name", Json::value_t::string);
  const Json* const file = Member(entry, "file", Json::value_t::string);
  const Json* const dtype = Member(entry, "dtype", Json::value_t::string);
  const Json* const shape = Member(entry, "shape", Json::value_t::array);
  const Json* const size = Member(entry, "size_bytes", Json::value_t::number_unsigned);
  const Json* const sha256 = Member(entry, "sha256", Json::value_t::string);
  if (!name || !file || !dtype || !shape || !size || !sha256)
    return UsageError("a tensor lacks a member; expected name, file, dtype, shape, size_bytes and sha256");
  for (const Json& extent : *shape) {
    if (!extent.is_number_unsigned())
      return UsageError("a shape holds something else; expected whole numbers");
    tensor.shape.push_back(extent.get<uint64_t>());
  }
  tensor.name = name->get<std::string>();
  tensor.file = file->get<std::string>();
  tensor.set = SetOfFile(tensor.file);
  tensor.dtype = dtype->get<std::string>();
  tensor.size_bytes = size->get<uint64_t>();
  tensor.sha256 = sha256->get<std::string>();
  return tensor;
}

Result<Digests> DigestsFromJson(const Json& document) {
  const Json* const schema = Member(document, "schema", Json::value_t::number_unsigned);
  const Json* const files = Member(document, "files", Json::value_t::array);
  const Json* const tensors = Member(document, "tensors", Json::value_t::array);
  if (!schema || !files || !tensors || *schema != kSchema)
    return UsageError("not a manifest of this version; expected what 'weightfs verify --json' printed");
  Digests digests;
  for (const Json& entry : *files) {
    const Json* const path = Member(entry, "path", Json::value_t::string);
    const Json* const size = Member(entry, "size_bytes", Json::value_t::number_unsigned);
    const Json* const sha256 = Member(entry, "sha256", Json::value_t::string);
    if (!path || !size || !sha256)
      return UsageError("a file lacks a member; expected path, size_bytes and sha256");
    digests.files.push_back(
        {path->get<std::string>(), size->get<uint64_t>(), sha256->get<std::string>(), false});
  }
  std::set<std::string> with_tensors;
  for (const Json& entry : *tensors) {
    WEIGHTFS_TRY(TensorDigest tensor, TensorFromJson(entry));
    with_tensors.insert(tensor.file);
    digests.tensors.push_back(std::move(tensor));
  }
  for (FileDigest& file : digests.files) file.holds_tensors = with_tensors.contains(file.path);
  return digests;
}

using TensorKey = std::pair<std::string, std::string>;

/// Tensors by set and name; the set is "" when `merge_sets`.
std::map<TensorKey, const TensorDigest*> IndexTensors(const Digests& digests, bool merge_sets) {
  std::map<TensorKey, const TensorDigest*> index;
  for (const TensorDigest& tensor : digests.tensors)
    index[{merge_sets ? "" : tensor.set, tensor.name}] = &tensor;
  return index;
}

bool HasOneSet(const Digests& digests) {
  std::set<std::string_view> sets;
  for (const TensorDigest& tensor : digests.tensors) sets.insert(tensor.set);
  return sets.size() <= 1;
}

std::string Describe(const TensorDigest& tensor) { return tensor.dtype + " " + ShapeText(tensor.shape); }

void CompareTensors(const Digests& actual, const Digests& expected, const weightfs::Report& report,
                    std::vector<Mismatch>& mismatches) {
  const bool merge_sets = HasOneSet(actual) && HasOneSet(expected);
  const auto theirs = IndexTensors(expected, merge_sets);
  const auto ours = IndexTensors(actual, merge_sets);
  std::set<std::string_view> dropped;
  for (const DroppedTensor& tensor : report.dropped) dropped.insert(tensor.name);
  for (const auto& [key, tensor] : ours) {
    const auto other = theirs.find(key);
    if (other == theirs.end()) {
      mismatches.push_back({tensor->name, fmt::format("{}; expected no such tensor", Describe(*tensor))});
    } else if (Describe(*tensor) != Describe(*other->second)) {
      mismatches.push_back(
          {tensor->name, fmt::format("{}; expected {}", Describe(*tensor), Describe(*other->second))});
    } else if (tensor->sha256 != other->second->sha256) {
      mismatches.push_back({tensor->name, fmt::format("other bytes, SHA-256 {}; expected {}", tensor->sha256,
                                                      other->second->sha256)});
    }
  }
  for (const auto& [key, tensor] : theirs)
    if (!ours.contains(key) && !dropped.contains(tensor->name))
      mismatches.push_back({tensor->name, fmt::format("not served; expected {}", Describe(*tensor))});
}

void CompareFiles(const Digests& actual, const Digests& expected, std::vector<Mismatch>& mismatches) {
  std::map<std::string_view, const FileDigest*> ours;
  for (const FileDigest& file : actual.files) ours[file.path] = &file;
  for (const FileDigest& file : expected.files) {
    if (file.holds_tensors || file.path.ends_with(".index.json")) continue;
    const auto other = ours.find(file.path);
    if (other == ours.end()) {
      mismatches.push_back({file.path, "not served; expected this file"});
    } else if (other->second->sha256 != file.sha256) {
      mismatches.push_back({file.path, fmt::format("other bytes, SHA-256 {}; expected {}",
                                                   other->second->sha256, file.sha256)});
    }
  }
}

}  // namespace

std::string DigestsJson(const weightfs::Report& report, const Digests& digests, const std::string* against,
                        const std::vector<Mismatch>& mismatches) {
  std::string text = fmt::format("{{\"schema\":{},\"weightfs\":{},\"source\":{},\"dtype\":{}", kSchema,
                                 JsonString(kVersion), JsonString(report.source), JsonString(report.dtype));
  const auto out = std::back_inserter(text);
  if (against != nullptr) {
    fmt::format_to(out, ",\n\"against\":{{\"path\":{},\"equal\":{},\"mismatches\":[", JsonString(*against),
                   mismatches.empty());
    for (size_t i = 0; i < mismatches.size(); ++i)
      fmt::format_to(out, "{}\n{{\"name\":{},\"what\":{}}}", i > 0 ? "," : "", JsonString(mismatches[i].name),
                     JsonString(mismatches[i].what));
    text += "]}";
  }
  text += ",\n\"files\":[";
  for (size_t i = 0; i < digests.files.size(); ++i) {
    const FileDigest& file = digests.files[i];
    fmt::format_to(out, "{}\n{{\"path\":{},\"size_bytes\":{},\"sha256\":\"{}\"}}", i > 0 ? "," : "",
                   JsonString(file.path), file.size_bytes, file.sha256);
  }
  text += "],\n\"tensors\":[";
  for (size_t i = 0; i < digests.tensors.size(); ++i) {
    const TensorDigest& tensor = digests.tensors[i];
    fmt::format_to(
        out,
        "{}\n{{\"name\":{},\"file\":{},\"dtype\":\"{}\",\"shape\":{},\"size_bytes\":{},\"sha256\":\"{}\"}}",
        i > 0 ? "," : "", JsonString(tensor.name), JsonString(tensor.file), tensor.dtype,
        ShapeText(tensor.shape), tensor.size_bytes, tensor.sha256);
  }
  text += "]}\n";
  return text;
}

bool IsDigestManifest(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  // A safetensors file may begin with `{` too, as part of the length of its header.
  if (file.get() != '{') return false;
  const int second = file.get();
  return second == '"' || second == '}' || second == ' ' || second == '\n' || second == '\r' ||
         second == '\t';
}

Result<Digests> ReadDigestManifest(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  if (!file) return UsageError(fmt::format("{}: cannot be read; expected a manifest", path));
  JsonOptions options;
  options.bytes_max = kManifestBytesMax;
  options.document_bytes_max = 4 * kManifestBytesMax;
  Result<Json> document = ParseJson(bytes.view(), path, options);
  if (!document) {
    document.error().code = ErrorCode::kInvalidArgument;
    return std::unexpected(document.error());
  }
  Result<Digests> digests = DigestsFromJson(*document);
  if (!digests) return std::unexpected(digests.error().Within(path));
  return digests;
}

std::vector<Mismatch> CompareDigests(const Digests& actual, const Digests& expected,
                                     const weightfs::Report& actual_report, bool with_files) {
  std::vector<Mismatch> mismatches;
  CompareTensors(actual, expected, actual_report, mismatches);
  if (with_files) CompareFiles(actual, expected, mismatches);
  return mismatches;
}

}  // namespace weightfs::cli
