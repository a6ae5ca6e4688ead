// Prints what a checkpoint file holds as JSON, and writes the bytes of its tensors to a folder when one is
// given: lets tests compare the readers with other programs without a mount.
//
//     weightfs_dump FILE [--weights KEY.PATH] [--raw FOLDER]
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/dtype.h"
#include "convert/io/block_cache.h"
#include "convert/io/local_file.h"
#include "convert/source/open_file.h"
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

Result<nlohmann::ordered_json> Dump(const std::string& path, const std::string& weights,
                                    const std::string& raw) {
  WEIGHTFS_TRY(const FilePtr file, LocalFile::Open(path, path, {}));
  SourceContext context;
  context.cache = std::make_shared<BlockCache>(context.limits.cache_bytes);
  context.weights_key_path = weights;
  WEIGHTFS_TRY(const Checkpoint checkpoint, OpenCheckpointFile(file, context));
  nlohmann::ordered_json json;
  json["format"] = checkpoint.format;
  json["metadata_bytes"] = checkpoint.metadata_bytes;
  json["tensors"] = nlohmann::ordered_json::array();
  for (size_t i = 0; i < checkpoint.tensors.size(); ++i) {
    const SourceTensor& tensor = checkpoint.tensors[i];
    json["tensors"].push_back({{"name", tensor.name},
                               {"dtype", TorchName(tensor.view.dtype())},
                               {"shape", tensor.view.shape()},
                               {"storage", tensor.storage},
                               {"operations", tensor.view.Operations()}});
    if (!raw.empty()) WEIGHTFS_CHECK(WriteRaw(tensor, context.cache, fmt::format("{}/{}.raw", raw, i)));
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

int Main(const std::vector<std::string>& arguments) {
  std::string path, weights, raw;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--weights" && i + 1 < arguments.size()) {
      weights = arguments[++i];
    } else if (arguments[i] == "--raw" && i + 1 < arguments.size()) {
      raw = arguments[++i];
    } else {
      path = arguments[i];
    }
  }
  const Result<nlohmann::ordered_json> json = Dump(path, weights, raw);
  const nlohmann::ordered_json& shown =
      json ? *json : nlohmann::ordered_json{{"error", ToJson(json.error())}};
  std::puts(shown.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
  return json ? 0 : 1;
}

}  // namespace
}  // namespace weightfs

int main(int argc, char** argv) { return weightfs::Main({argv + 1, argv + argc}); }
