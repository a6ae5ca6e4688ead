// Prints what a checkpoint holds as JSON, and writes the bytes of its tensors to a folder when one is given:
// lets tests compare the readers with other programs without a mount.
//
//     weightfs_dump FILE [--weights KEY.PATH] [--raw FOLDER]
//     weightfs_dump FOLDER [--weights KEY.PATH] [--raw FOLDER]     of a distributed checkpoint
//     weightfs_dump FOLDER [--weights master|module] [--tag TAG] [--also FOLDER]... [--partial] [--raw
//     FOLDER]
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/dtype.h"
#include "convert/io/block_cache.h"
#include "convert/io/local_file.h"
#include "convert/source/dcp/reader.h"
#include "convert/source/deepspeed/deepspeed.h"
#include "convert/source/open_file.h"
#include "convert/source/source_files.h"
#include "convert/view/virtual_file.h"

namespace weightfs {
namespace {

nlohmann::ordered_json ToJson(const Error& error) {
  return {{"code", ErrorCodeName(error.code)}, {"message", error.message}, {"remedy", error.remedy}};
}

Status WriteRaw(const SourceTensor& tensor, const std::shared_ptr<BlockCache>& cache,
                const std::string& path) {
  WEIGHTFS_TRY(const VirtualFilePtr file, MakeViewFile({}, {tensor.view}, cache));
  std::ofstream out(path, std::ios::binary);
  ReadScratch scratch;
  for (uint64_t begin = 0; begin < file->size_bytes();) {
    const uint64_t end = std::min(file->size_bytes(), begin + kReadBytesMax);
    WEIGHTFS_TRY(const std::span<const std::byte> bytes, file->Read({begin, end}, scratch));
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    begin = end;
  }
  if (!out.flush()) return FailIo(EIO, path);
  return {};
}

struct Arguments {
  std::string path, weights, raw, tag;
  std::vector<std::string> also;
  bool partial = false;
};

Result<nlohmann::ordered_json> DumpCheckpoint(const Checkpoint& checkpoint, const std::string& raw,
                                              const std::shared_ptr<BlockCache>& cache) {
  nlohmann::ordered_json json;
  json["format"] = checkpoint.format;
  json["metadata_bytes"] = checkpoint.metadata_bytes;
  json["tensors"] = nlohmann::ordered_json::array();
  for (size_t i = 0; i < checkpoint.tensors.size(); ++i) {
    const SourceTensor& tensor = checkpoint.tensors[i];
    json["tensors"].push_back({{"name", tensor.name},
                               {"dtype", TorchName(tensor.view.dtype())},
                               {"shape", tensor.view.shape()},
                               {"file", tensor.file},
                               {"storage", tensor.storage},
                               {"operations", tensor.view.Operations()}});
    if (!raw.empty()) WEIGHTFS_CHECK(WriteRaw(tensor, cache, fmt::format("{}/{}.raw", raw, i)));
  }
  for (const UnsupportedTensor& tensor : checkpoint.unsupported)
    json["unsupported"].push_back({{"name", tensor.name}, {"reason", tensor.reason}});
  for (const LeftOut& left_out : checkpoint.left_out)
    json["left_out"].push_back({{"path", left_out.path}, {"reason", left_out.reason}});
  for (const MappingCandidate& candidate : checkpoint.candidates)
    json["candidates"].push_back({{"path", candidate.path},
                                  {"tensors", candidate.tensor_count},
                                  {"bytes", candidate.size_bytes},
                                  {"chosen", candidate.chosen}});
  for (const std::string& warning : checkpoint.warnings) json["warnings"].push_back(warning);
  for (const auto& [key, value] : checkpoint.metadata) json["metadata"][key] = value;
  if (checkpoint.values != nullptr) json["values"] = nlohmann::ordered_json::parse(checkpoint.values->dump());
  return json;
}

Result<std::shared_ptr<SourceFiles>> OpenFolder(const std::string& path, const SourceContext& context) {
  SourceFiles::Options options;
  options.limits = context.limits;
  options.cache = context.cache;
  return SourceFiles::Create(path, std::move(options));
}

/// A DeepSpeed save: `{"ranks": [...]}`, the tensors of rank number I in the folder RAW/I.
Result<nlohmann::ordered_json> DumpSave(const std::shared_ptr<SourceFiles>& source,
                                        const Arguments& arguments, const SourceContext& context) {
  WEIGHTFS_TRY(std::optional<DeepSpeedSave> save, FindDeepSpeedSave(source, "", arguments.tag));
  if (!save) return Fail(ErrorCode::kNotFound, arguments.path + ": no DeepSpeed save");
  for (const std::string& folder : arguments.also) {
    WEIGHTFS_TRY(const std::shared_ptr<SourceFiles> also, OpenFolder(folder, context));
    WEIGHTFS_CHECK(AddDeepSpeedFolder(also, *save));
  }
  DeepSpeedOptions options;
  options.partial = arguments.partial;
  if (arguments.weights == "module") options.weights = DeepSpeedWeights::kModule;
  WEIGHTFS_TRY(const DeepSpeedCheckpoint read, ReadDeepSpeed(*save, options, context));
  nlohmann::ordered_json json = {{"tag", save->folder},
                                 {"masters", read.are_masters},
                                 {"partial", read.is_partial},
                                 {"ranks", nlohmann::ordered_json::array()}};
  for (size_t i = 0; i < read.ranks.size(); ++i) {
    const std::string raw = arguments.raw.empty() ? "" : fmt::format("{}/{}", arguments.raw, i);
    if (!raw.empty()) std::filesystem::create_directories(raw);
    WEIGHTFS_TRY(nlohmann::ordered_json rank, DumpCheckpoint(read.ranks[i], raw, context.cache));
    json["ranks"].push_back(std::move(rank));
  }
  return json;
}

Result<nlohmann::ordered_json> Dump(const Arguments& arguments) {
  SourceContext context;
  context.cache = std::make_shared<BlockCache>(context.limits.cache_bytes);
  context.weights_key_path = arguments.weights;
  if (std::filesystem::is_directory(arguments.path)) {
    WEIGHTFS_TRY(const std::shared_ptr<SourceFiles> source, OpenFolder(arguments.path, context));
    WEIGHTFS_TRY(const std::vector<SourceEntry> entries, source->List(""));
    if (!FindDcpForm(entries)) return DumpSave(source, arguments, context);
    WEIGHTFS_TRY(const Checkpoint checkpoint, ReadDcp(*source, "", context));
    return DumpCheckpoint(checkpoint, arguments.raw, context.cache);
  }
  WEIGHTFS_TRY(const FilePtr file, LocalFile::Open(arguments.path, arguments.path, {}));
  WEIGHTFS_TRY(const Checkpoint checkpoint, OpenCheckpointFile(file, context));
  return DumpCheckpoint(checkpoint, arguments.raw, context.cache);
}

int Main(const std::vector<std::string>& words) {
  Arguments arguments;
  for (size_t i = 0; i < words.size(); ++i) {
    const bool has_value = i + 1 < words.size();
    if (words[i] == "--weights" && has_value) {
      arguments.weights = words[++i];
    } else if (words[i] == "--raw" && has_value) {
      arguments.raw = words[++i];
    } else if (words[i] == "--tag" && has_value) {
      arguments.tag = words[++i];
    } else if (words[i] == "--also" && has_value) {
      arguments.also.push_back(words[++i]);
    } else if (words[i] == "--partial") {
      arguments.partial = true;
    } else {
      arguments.path = words[i];
    }
  }
  const Result<nlohmann::ordered_json> json = Dump(arguments);
  const nlohmann::ordered_json& shown =
      json ? *json : nlohmann::ordered_json{{"error", ToJson(json.error())}};
  std::puts(shown.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
  return json ? 0 : 1;
}

}  // namespace
}  // namespace weightfs

int main(int argc, char** argv) { return weightfs::Main({argv + 1, argv + argc}); }
