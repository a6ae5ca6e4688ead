/// \file
/// Writes small distributed checkpoints as torch.distributed.checkpoint does: for tests, and independent of
/// the reader. Every part can be made wrong.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/temp_dir.h"
#include "tests/support/torch_writer.h"

namespace weightfs::testing {

/// The modules that classes are named with: those of one torch release, or of a trainer.
struct DcpModules {
  std::string metadata = "torch.distributed.checkpoint.metadata";
  std::string properties = "torch.distributed.checkpoint.metadata";
  std::string storage_info = "torch.distributed.checkpoint.filesystem";
};

inline PickledValue DcpObject(std::string_view module, std::string_view name, const PickledPairs& state) {
  PickledValue object = PickleNew(PickleGlobal(module, name), {});
  return state.empty() ? object : PickleBuild(object, PickleDict(state));
}

inline PickledValue DcpSize(const std::vector<int64_t>& sizes) {
  return PickleCall(PickleGlobal("torch", "Size"), {PickleNumbers(sizes)});
}

/// A row-major float32 tensor in an archive of its own.
inline std::string DcpArchive(const std::vector<int64_t>& shape, const std::string& bytes) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return TorchZip(TorchTensor(TorchStorageId("FloatStorage", "0", count), 0, shape, strides), {{"0", bytes}});
}

struct DcpChunkSpec {
  std::vector<int64_t> offsets, sizes;
  std::string file;                ///< Empty: the metadata names no place.
  int64_t offset = 0, length = 0;  ///< Of the payload.
  std::vector<std::string> transforms;
};

class DcpWriter {
 public:
  DcpModules modules;
  bool has_planner = true;

  /// Adds `payload` to the payload file `file`, and a chunk that lies there.
  DcpChunkSpec Store(std::string file, std::vector<int64_t> offsets, std::vector<int64_t> sizes,
                     const std::string& payload) {
    DcpChunkSpec chunk{std::move(offsets), std::move(sizes), std::move(file), 0, 0, {}};
    std::string& content = files[chunk.file];
    chunk.offset = static_cast<int64_t>(content.size());
    chunk.length = static_cast<int64_t>(payload.size());
    content += payload;
    return chunk;
  }
  /// A chunk of float32 whose elements are its bytes.
  DcpChunkSpec StoreFloats(std::string file, std::vector<int64_t> offsets, std::vector<int64_t> sizes,
                           const std::string& bytes) {
    const std::string archive = DcpArchive(sizes, bytes);
    return Store(std::move(file), std::move(offsets), std::move(sizes), archive);
  }

  void AddTensor(const std::vector<std::string>& path, const std::vector<int64_t>& shape,
                 const std::vector<DcpChunkSpec>& chunks, std::string_view dtype = "float32") {
    const std::string name = AddPath(path);
    std::vector<PickledValue> pickled;
    for (const DcpChunkSpec& chunk : chunks) {
      pickled.push_back(DcpObject(
          modules.metadata, "ChunkStorageMetadata",
          {{PickleText("offsets"), DcpSize(chunk.offsets)}, {PickleText("sizes"), DcpSize(chunk.sizes)}}));
      if (!chunk.file.empty()) AddPlace(name, chunk);
    }
    const PickledValue properties =
        PickleBuild(PickleNew(PickleGlobal(modules.properties, "TensorProperties"), {}),
                    PickleTuple({PickleGlobal("torch", dtype), PickleNone(), PickleBool(false), PickleInt(0),
                                 PickleBool(false)}));
    tensors_.emplace_back(PickleText(name), DcpObject(modules.metadata, "TensorStorageMetadata",
                                                      {{PickleText("properties"), properties},
                                                       {PickleText("size"), DcpSize(shape)},
                                                       {PickleText("chunks"), PickleList(pickled)}}));
  }

  void AddValue(const std::vector<std::string>& path) {
    const std::string name = AddPath(path);
    tensors_.emplace_back(PickleText(name), DcpObject(modules.metadata, "BytesStorageMetadata", {}));
  }

  std::string Metadata() const {
    PickledPairs state = {{PickleText("state_dict_metadata"), PickleDict(tensors_)},
                          {PickleText("storage_data"), PickleDict(places_)}};
    state.emplace_back(PickleText("planner_data"), has_planner ? PickleDict(planner_) : PickleNone());
    return PickleStream(DcpObject(modules.metadata, "Metadata", state));
  }

  /// Writes payloads and metadata into `folder`.
  void Write(const std::string& folder, const std::string& metadata_name = ".metadata") const {
    for (const auto& [name, content] : files) WriteFile(folder + "/" + name, content);
    WriteFile(folder + "/" + metadata_name, Metadata());
  }

  std::map<std::string, std::string> files;

 private:
  std::string AddPath(const std::vector<std::string>& path) {
    std::string name;
    std::vector<PickledValue> items;
    for (const std::string& item : path) {
      if (!name.empty()) name += '.';
      name += item;
      items.push_back(PickleText(item));
    }
    planner_.emplace_back(PickleText(name), PickleTuple(items));
    return name;
  }

  void AddPlace(const std::string& name, const DcpChunkSpec& chunk) {
    PickledPairs info = {{PickleText("relative_path"), PickleText(chunk.file)},
                         {PickleText("offset"), PickleInt(chunk.offset)},
                         {PickleText("length"), PickleInt(chunk.length)}};
    if (!chunk.transforms.empty()) {
      std::vector<PickledValue> transforms;
      for (const std::string& transform : chunk.transforms) transforms.push_back(PickleText(transform));
      info.emplace_back(PickleText("transform_descriptors"), PickleList(transforms));
    }
    places_.emplace_back(DcpObject(modules.metadata, "MetadataIndex",
                                   {{PickleText("fqn"), PickleText(name)},
                                    {PickleText("offset"), DcpSize(chunk.offsets)},
                                    {PickleText("index"), PickleInt(7)}}),
                         DcpObject(modules.storage_info, "_StorageInfo", info));
  }

  PickledPairs tensors_, places_, planner_;
};

}  // namespace weightfs::testing
