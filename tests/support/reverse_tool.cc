// Applies a family table backwards: from a Hugging Face folder to the native tensors, one safetensors file
// for each rank. Lets tests compare what a table makes of them with what there was before.
//
//     weightfs_reverse TABLE HF_DIR OUT_DIR [--parts N] [--option KEY=VALUE]... [--rules FILE]
//
// TABLE is the name of a family, or a file that holds one table. Exit status: 2 for wrong arguments, 3 for
// all else.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "convert/base/json.h"
#include "convert/base/relative_path.h"
#include "convert/convert.h"
#include "convert/family/family.h"
#include "convert/source/source_files.h"
#include "convert/target/hf/safetensors_layout.h"
#include "convert/view/virtual_file.h"

namespace weightfs {
namespace {

struct Arguments {
  std::string table, source, destination, rules;
  uint64_t parts = 1;
  FamilyOptions options;
};

Result<Arguments> Parse(const std::vector<std::string>& words) {
  Arguments arguments;
  std::vector<std::string> operands;
  for (size_t i = 0; i < words.size(); ++i) {
    const bool has_value = i + 1 < words.size();
    if (words[i] == "--parts" && has_value) {
      const std::string& value = words[++i];
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), arguments.parts);
      if (error != std::errc() || arguments.parts == 0)
        return Fail(ErrorCode::kInvalidArgument, fmt::format("--parts {}: expected 1 or more", value));
    } else if (words[i] == "--option" && has_value) {
      const std::string& value = words[++i];
      const size_t equals = value.find('=');
      if (equals == value.npos)
        return Fail(ErrorCode::kInvalidArgument, fmt::format("--option {}: expected KEY=VALUE", value));
      arguments.options.values[value.substr(0, equals)] = value.substr(equals + 1);
    } else if (words[i] == "--rules" && has_value) {
      arguments.rules = words[++i];
    } else {
      operands.push_back(words[i]);
    }
  }
  if (operands.size() != 3)
    return Fail(ErrorCode::kInvalidArgument,
                "expected TABLE HF_DIR OUT_DIR [--parts N] [--option KEY=VALUE]... [--rules FILE]");
  arguments.table = operands[0];
  arguments.source = operands[1];
  arguments.destination = operands[2];
  return arguments;
}

/// \param name  relative to `path`; empty when that is the file itself
Result<nlohmann::json> ReadJson(const std::string& path, const std::string& name) {
  WEIGHTFS_TRY(const std::shared_ptr<SourceFiles> files, SourceFiles::Create(path, {}));
  WEIGHTFS_TRY(const std::string text, files->ReadSmall(name, Limits().json_bytes_max));
  const JsonOptions json = {.duplicate_keys = DuplicateKeys::kLastWins, .allow_nan = true};
  WEIGHTFS_TRY(const nlohmann::ordered_json document, ParseJson(text, path, json));
  return nlohmann::json(document);
}

/// The table that the arguments name; one of a file is loaded as rules are.
Result<std::shared_ptr<const FamilyTable>> FindTable(const Arguments& arguments) {
  std::string name = arguments.table;
  std::string rules = arguments.rules;
  if (name.ends_with(".json")) {
    WEIGHTFS_TRY(const nlohmann::json table, ReadJson(name, ""));
    rules = std::exchange(name, table.value("family", ""));
  }
  WEIGHTFS_TRY(const FamilyRegistry registry, LoadFamilies(rules));
  if (auto table = registry.Find(name)) return table;
  return Fail(ErrorCode::kInvalidArgument, fmt::format("{}: no such table", arguments.table));
}

Status WriteFile(const VirtualFile& file, const std::string& path) {
  std::ofstream out(path, std::ios::binary);
  ReadScratch scratch;
  for (uint64_t begin = 0; begin < file.size_bytes();) {
    const uint64_t end = std::min(file.size_bytes(), begin + kReadBytesMax);
    WEIGHTFS_TRY(const std::span<const std::byte> bytes, file.Read({begin, end}, scratch));
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    begin = end;
  }
  if (!out.flush()) return FailIo(EIO, path);
  return {};
}

/// The tensors that rank number `rank` has. A tensor in one part is whole, and in the first file.
Status WriteRank(const ReverseResult& native, uint64_t rank, const std::string& path,
                 const std::shared_ptr<BlockCache>& cache) {
  std::vector<ServedTensor> tensors;
  std::vector<size_t> all;
  for (const FamilyTensor& tensor : native.tensors) {
    if (rank >= tensor.parts.size()) continue;
    all.push_back(tensors.size());
    tensors.push_back({tensor.name, tensor.parts[rank], all.back()});
  }
  WEIGHTFS_TRY(SafetensorsLayout layout, PlanSafetensors(tensors, all, path, Limits{}));
  std::vector<TensorView> views;
  for (const size_t i : layout.order) views.push_back(tensors[i].view);
  WEIGHTFS_TRY(const VirtualFilePtr file, MakeViewFile(std::move(layout.header), std::move(views), cache));
  return WriteFile(*file, path);
}

Status Reverse(const Arguments& arguments) {
  WEIGHTFS_TRY(const std::shared_ptr<const FamilyTable> table, FindTable(arguments));
  WEIGHTFS_TRY(const OpenedSource opened, Open(arguments.source, {.family = "none"}));
  WEIGHTFS_TRY(const nlohmann::json config, ReadJson(arguments.source, "config.json"));
  ReverseInput input;
  for (const TensorReport& tensor : opened.report.tensors)
    input.tensors.push_back({tensor.name, {tensor.view}});
  input.config = &config;
  input.parts = arguments.parts;
  input.options = arguments.options;
  WEIGHTFS_TRY(const ReverseResult native, ReverseFamily(*table, input));
  std::error_code error;
  std::filesystem::create_directories(arguments.destination, error);
  if (error) return FailIo(error.value(), arguments.destination);
  for (uint64_t rank = 0; rank < arguments.parts; ++rank)
    WEIGHTFS_CHECK(WriteRank(
        native, rank, fmt::format("{}/part.{:02}.safetensors", arguments.destination, rank), opened.cache));
  return {};
}

int Main(const std::vector<std::string>& words) {
  const Result<Arguments> arguments = Parse(words);
  const Status done = arguments ? Reverse(*arguments) : std::unexpected(arguments.error());
  if (done) return 0;
  std::fprintf(stderr, "%s\n%s\n", done.error().message.c_str(), done.error().remedy.c_str());
  return done.error().code == ErrorCode::kInvalidArgument ? 2 : 3;
}

}  // namespace
}  // namespace weightfs

int main(int argc, char** argv) { return weightfs::Main({argv + 1, argv + argc}); }
