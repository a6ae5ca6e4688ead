#include "convert/source/dcp/metadata.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "convert/base/bytes.h"
#include "convert/pickle/unpickler.h"
#include "convert/source/torch/node_access.h"
#include "convert/source/utf8.h"

namespace weightfs {
namespace {

using pickle::Kind;
using pickle::Node;
using pickle::NodePtr;

constexpr std::string_view kZstd = "stream.zstd/1";

bool IsOfClass(const Node& node, std::string_view name) {
  const std::string_view dotted = CallOf(node).name;
  return dotted.ends_with(name) &&
         (dotted.size() == name.size() || dotted[dotted.size() - name.size() - 1] == '.');
}

/// An attribute of an object that is not None, or nullptr.
NodePtr AttributeOf(const Node& object, std::string_view name) {
  NodePtr state = CallOf(object).state;
  if (state == nullptr || !state->IsMapping()) return nullptr;
  NodePtr found = state->Find(name);
  return found == nullptr || found->Is(Kind::kNone) ? nullptr : found;
}

/// Numbers of what was joined so far, by name.
struct Numbering {
  std::unordered_map<std::string, size_t> tensors;
  std::unordered_map<std::string, uint32_t> files;
};

/// One metadata file on its way into the joined metadata.
class MetadataReader {
 public:
  MetadataReader(const FilePtr& file, const Limits& limits, DcpMetadata& joined, Numbering& numbering)
      : name_(file->name()), limits_(limits), joined_(joined), numbering_(numbering) {}

  Status Read(const RandomAccessFile& file) {
    WEIGHTFS_TRY(const pickle::Tree tree, pickle::Parse(file, 0, name_, limits_));
    joined_.metadata_bytes += tree.size_bytes();
    const Node& root = *tree.root();
    NodePtr tensors = IsOfClass(root, "Metadata") ? AttributeOf(root, "state_dict_metadata") : nullptr;
    if (tensors == nullptr || !tensors->IsMapping())
      return Corrupt(
          fmt::format("a {}; expected the Metadata of a distributed checkpoint, with "
                      "state_dict_metadata",
                      ClassName(root)));
    WEIGHTFS_CHECK(IndexPlanner(AttributeOf(root, "planner_data")));
    WEIGHTFS_CHECK(IndexPlaces(AttributeOf(root, "storage_data")));
    for (const auto [key, value] : MappingPairs(*tensors)) WEIGHTFS_CHECK(AddEntry(*key, *value));
    return {};
  }

 private:
  struct Place {
    NodePtr offset;  ///< nullptr for values that are no tensors.
    NodePtr info;
  };

  std::unexpected<Error> Corrupt(std::string_view what) const {
    return Fail(ErrorCode::kCorrupt, fmt::format("{}: {}", name_, what));
  }
  std::unexpected<Error> CorruptTensor(std::string_view tensor, std::string_view what) const {
    return Corrupt(fmt::format("tensor {}: {}", Quoted(tensor), what));
  }

  /// The planner's data of the default planner is a mapping of keys to paths; others leave what they like
  /// there.
  Status IndexPlanner(NodePtr planner) {
    if (planner == nullptr) return {};
    for (const auto [key, value] : MappingPairs(*planner))
      if (key->Is(Kind::kString) && value->Is(Kind::kTuple)) paths_.emplace(key->text(), value);
    return {};
  }

  Status IndexPlaces(NodePtr places) {
    if (places == nullptr) return {};
    if (!places->IsMapping())
      return Corrupt(fmt::format("storage_data that is a {}; expected a dict", ClassName(*places)));
    for (const auto [key, value] : MappingPairs(*places)) {
      NodePtr fqn = IsOfClass(*key, "MetadataIndex") ? AttributeOf(*key, "fqn") : nullptr;
      if (fqn == nullptr || !fqn->Is(Kind::kString))
        return Corrupt(fmt::format("a key of storage_data that is a {}; expected a MetadataIndex with a name",
                                   ClassName(*key)));
      if (!IsOfClass(*value, "_StorageInfo"))
        return Corrupt(fmt::format("storage_data of {} is a {}; expected a _StorageInfo", Quoted(fqn->text()),
                                   ClassName(*value)));
      places_[fqn->text()].push_back({AttributeOf(*key, "offset"), value});
    }
    return {};
  }

  /// The numbers of a torch.Size, tuple or list.
  Result<Shape> Numbers(NodePtr node, std::string_view tensor, std::string_view what) const {
    if (node != nullptr && IsOfClass(*node, "Size") && !CallOf(*node).arguments.empty())
      node = CallOf(*node).arguments[0];
    if (node == nullptr || (!node->Is(Kind::kTuple) && !node->Is(Kind::kList)))
      return CorruptTensor(tensor, fmt::format("{} that are {}; expected a torch.Size", what,
                                               node == nullptr ? "missing" : DescribeValue(*node)));
    const NodeItems items = Items(*node);
    if (items.size() > limits_.tensor_rank_max)
      return Fail(ErrorCode::kLimitExceeded,
                  fmt::format("{}: tensor {}: {} of {} dimensions; the limit is {}", name_, Quoted(tensor),
                              what, items.size(), limits_.tensor_rank_max));
    Shape shape;
    shape.reserve(items.size());
    for (NodePtr item : items) {
      const std::optional<uint64_t> value = UnsignedValue(*item);
      if (!value)
        return CorruptTensor(tensor, fmt::format("{} with {} in them; expected numbers from 0 on", what,
                                                 DescribeValue(*item)));
      shape.push_back(*value);
    }
    return shape;
  }

  Result<DcpPath> PathOf(std::string_view name) const {
    const auto found = paths_.find(name);
    if (found == paths_.end()) return DcpPath{std::string(name)};
    DcpPath path;
    for (NodePtr item : Items(*found->second)) {
      if (item->Is(Kind::kString)) {
        path.emplace_back(item->text());
      } else if (item->Is(Kind::kInt)) {
        path.push_back(fmt::format("{}", item->integer()));
      } else {
        return Corrupt(fmt::format("the path of {} holds {}; expected texts and integers", Quoted(name),
                                   DescribeValue(*item)));
      }
    }
    if (path.empty()) return Corrupt(fmt::format("the path of {} is empty; expected its keys", Quoted(name)));
    return path;
  }

  Status AddEntry(const Node& key, const Node& value) {
    if (!key.Is(Kind::kString))
      return Corrupt(
          fmt::format("a key of state_dict_metadata that is {}; expected text", DescribeValue(key)));
    const std::string_view name = key.text();
    if (IsOfClass(value, "TensorStorageMetadata")) return AddTensor(name, value);
    if (!IsOfClass(value, "BytesStorageMetadata"))
      return Corrupt(fmt::format("{} is a {}; expected TensorStorageMetadata or BytesStorageMetadata",
                                 Quoted(name), ClassName(value)));
    WEIGHTFS_TRY(DcpPath path, PathOf(name));
    joined_.values.push_back({std::string(name), std::move(path)});
    return {};
  }

  Status AddTensor(std::string_view name, const Node& value) {
    DcpTensor tensor;
    tensor.name = name;
    WEIGHTFS_TRY(tensor.path, PathOf(name));
    WEIGHTFS_CHECK(ReadDType(AttributeOf(value, "properties"), tensor));
    WEIGHTFS_TRY(tensor.shape, Numbers(AttributeOf(value, "size"), name, "sizes"));
    if (!CheckedProduct(tensor.shape))
      return CorruptTensor(name, fmt::format("sizes {}; their product does not fit 64 bits", tensor.shape));
    NodePtr chunks = AttributeOf(value, "chunks");
    if (chunks == nullptr || (!chunks->Is(Kind::kList) && !chunks->Is(Kind::kTuple)))
      return CorruptTensor(name, "no list of chunks; expected one");
    const NodeItems items = Items(*chunks);
    tensor.chunks.reserve(items.size());
    for (NodePtr chunk : items) WEIGHTFS_CHECK(AddChunk(*chunk, tensor));
    WEIGHTFS_CHECK(FindPlaces(tensor));
    return Join(std::move(tensor));
  }

  /// The state of TensorProperties is a tuple that begins with the dtype; a mapping, should it ever be one.
  Status ReadDType(NodePtr properties, DcpTensor& tensor) const {
    NodePtr dtype = nullptr;
    if (properties != nullptr) {
      NodePtr state = CallOf(*properties).state;
      if (state != nullptr && state->IsMapping()) dtype = state->Find("dtype");
      if (state != nullptr && !Items(*state).empty()) dtype = Items(*state)[0];
    }
    if (dtype == nullptr || !dtype->Is(Kind::kGlobal))
      return CorruptTensor(tensor.name, "no dtype; expected TensorProperties that begin with one");
    tensor.dtype_name = dtype->text();
    tensor.dtype = TorchDTypeFromGlobal(dtype->text());
    return {};
  }

  Status AddChunk(const Node& node, DcpTensor& tensor) const {
    DcpChunk chunk;
    WEIGHTFS_TRY(chunk.offsets, Numbers(AttributeOf(node, "offsets"), tensor.name, "offsets of a chunk"));
    WEIGHTFS_TRY(chunk.sizes, Numbers(AttributeOf(node, "sizes"), tensor.name, "sizes of a chunk"));
    bool fits = chunk.offsets.size() == tensor.shape.size() && chunk.sizes.size() == tensor.shape.size();
    // Ranks that got nothing have empty chunks that may begin anywhere.
    const bool is_empty = std::ranges::find(chunk.sizes, 0u) != chunk.sizes.end();
    for (size_t axis = 0; fits && !is_empty && axis < tensor.shape.size(); ++axis)
      fits = chunk.offsets[axis] <= tensor.shape[axis] &&
             chunk.sizes[axis] <= tensor.shape[axis] - chunk.offsets[axis];
    if (!fits)
      return CorruptTensor(tensor.name,
                           fmt::format("a chunk of sizes {} at {} of a tensor of shape {}; expected "
                                       "it within the tensor",
                                       chunk.sizes, chunk.offsets, tensor.shape));
    if (!is_empty) tensor.chunks.push_back(std::move(chunk));
    return {};
  }

  /// Chunks and places are matched by offset: indexes are hints, which go stale.
  Status FindPlaces(DcpTensor& tensor) {
    const auto found = places_.find(tensor.name);
    if (found == places_.end()) return {};
    std::vector<std::pair<Shape, NodePtr>> places;
    places.reserve(found->second.size());
    for (const Place& place : found->second) {
      Shape offsets(tensor.shape.size(), 0);
      if (place.offset != nullptr) {
        WEIGHTFS_TRY(offsets, Numbers(place.offset, tensor.name, "offsets of stored data"));
      }
      places.emplace_back(std::move(offsets), place.info);
    }
    std::ranges::stable_sort(places, {}, &std::pair<Shape, NodePtr>::first);
    for (DcpChunk& chunk : tensor.chunks) {
      const auto place =
          std::ranges::lower_bound(places, chunk.offsets, {}, &std::pair<Shape, NodePtr>::first);
      if (place == places.end() || place->first != chunk.offsets) continue;
      WEIGHTFS_TRY(chunk.place, ReadPlace(*place->second, tensor.name));
    }
    return {};
  }

  Result<DcpPlace> ReadPlace(const Node& info, std::string_view tensor) {
    NodePtr path = AttributeOf(info, "relative_path"), offset = AttributeOf(info, "offset"),
            length = AttributeOf(info, "length");
    const std::optional<uint64_t> begin = offset == nullptr ? std::nullopt : UnsignedValue(*offset),
                                  size = length == nullptr ? std::nullopt : UnsignedValue(*length);
    if (path == nullptr || !path->Is(Kind::kString) || !begin || !size)
      return CorruptTensor(tensor, "a _StorageInfo without path, offset and length; expected all three");
    const std::string_view file = path->text();
    if (file.empty() || file == "." || file == ".." ||
        file.find_first_of(std::string_view("/\0", 2)) != file.npos)
      return CorruptTensor(
          tensor,
          fmt::format("stored in {}; expected a plain name of a file beside the metadata", Quoted(file)));
    DcpPlace place;
    place.offset_bytes = *begin;
    place.length_bytes = *size;
    const auto known =
        numbering_.files.try_emplace(std::string(file), static_cast<uint32_t>(joined_.files.size()));
    if (known.second) joined_.files.emplace_back(file);
    place.file = known.first->second;
    if (NodePtr transforms = AttributeOf(info, "transform_descriptors"); transforms != nullptr) {
      const NodeItems items = Items(*transforms);
      if (items.size() > 1 || (items.size() == 1 && items[0]->text() != kZstd))
        return Fail(ErrorCode::kUnsupported,
                    fmt::format("{}: tensor {}: stored through the transforms [{}]; expected none, or {}",
                                name_, Quoted(tensor), fmt::join(Texts(items), ", "), kZstd),
                    "load it with the program that wrote it, and save it without extensions");
      place.is_zstd = items.size() == 1;
    }
    return place;
  }

  static std::vector<std::string> Texts(NodeItems items) {
    std::vector<std::string> texts;
    for (NodePtr item : items) texts.push_back(DescribeValue(*item));
    return texts;
  }

  /// Adds the chunks of this file to those of the ranks before. A chunk that a rank before has too is a copy.
  Status Join(DcpTensor tensor) {
    const auto [known, is_new] = numbering_.tensors.try_emplace(tensor.name, joined_.tensors.size());
    if (is_new) {
      if (joined_.tensors.size() >= limits_.tensors_max)
        return Fail(ErrorCode::kLimitExceeded,
                    fmt::format("{}: more than {} tensors", name_, limits_.tensors_max));
      joined_.tensors.push_back(std::move(tensor));
      return {};
    }
    DcpTensor& first = joined_.tensors[known->second];
    if (first.shape != tensor.shape || first.dtype_name != tensor.dtype_name || first.path != tensor.path)
      return CorruptTensor(tensor.name,
                           fmt::format("{} of shape {}, but {} of shape {} in the metadata of a rank "
                                       "before; expected one save",
                                       tensor.dtype_name, tensor.shape, first.dtype_name, first.shape));
    std::ranges::move(tensor.chunks, std::back_inserter(first.chunks));
    return {};
  }

  const std::string name_;
  const Limits& limits_;
  DcpMetadata& joined_;
  Numbering& numbering_;
  std::unordered_map<std::string_view, NodePtr> paths_;
  std::unordered_map<std::string_view, std::vector<Place>> places_;
};

}  // namespace

Result<DcpMetadata> ReadDcpMetadata(std::span<const FilePtr> files, const Limits& limits) {
  DcpMetadata joined;
  Numbering numbering;
  for (const FilePtr& file : files)
    WEIGHTFS_CHECK(MetadataReader(file, limits, joined, numbering).Read(*file));
  // A value is saved by each rank for itself.
  if (files.size() > 1) {
    std::ranges::stable_sort(joined.values, {}, &DcpValue::name);
    const auto rest = std::ranges::unique(joined.values, {}, &DcpValue::name);
    joined.values.erase(rest.begin(), rest.end());
  }
  return joined;
}

}  // namespace weightfs
