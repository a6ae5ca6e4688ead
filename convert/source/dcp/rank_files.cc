#include "convert/source/dcp/rank_files.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "convert/base/relative_path.h"
#include "convert/source/dcp/assemble_tensor.h"
#include "convert/source/dcp/subtree.h"
#include "convert/source/open_file.h"
#include "convert/source/torch/branch.h"
#include "convert/source/torch/choose.h"
#include "convert/source/torch/node_access.h"
#include "convert/source/torch/rebuild.h"
#include "convert/source/torch/sharded_tensor.h"
#include "convert/source/torch/tensor_form.h"
#include "convert/source/torch/walk_budget.h"
#include "convert/source/utf8.h"

namespace weightfs {
namespace {

constexpr std::string_view kRank = "rank";
constexpr std::string_view kFsdpModel = "pytorch_model";
constexpr std::string_view kFlatData = "flat_param.data";

struct RankName {
  std::string_view model;  ///< What stands before the rank.
  uint32_t rank = 0;
};

std::optional<RankName> ParseRankName(std::string_view name) {
  if (name.ends_with(".lz4")) name.remove_suffix(4);
  const size_t dot = name.rfind('.'), at = name.rfind(kRank);
  if (dot == name.npos || at == name.npos || at > dot) return std::nullopt;
  const std::string_view model = name.substr(0, at),
                         digits = name.substr(at + kRank.size(), dot - at - kRank.size());
  if (!model.empty() && !(model.starts_with(kFsdpModel) && model.ends_with('_'))) return std::nullopt;
  if (name.substr(dot) != ".bin" && name.substr(dot) != ".pt") return std::nullopt;
  RankName parsed{model, 0};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), parsed.rank);
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return parsed;
}

/// Where part `number` of `count` begins along an axis of `extent`, and how long it is, as torch.chunk cuts.
std::pair<uint64_t, uint64_t> ChunkOf(uint64_t extent, uint64_t number, uint64_t count) {
  const uint64_t step = extent / count + (extent % count != 0 ? 1 : 0);
  const uint64_t begin = step == 0 || number > extent / step ? extent : std::min(extent, number * step);
  return {begin, std::min(step, extent - begin)};
}

/// The `local` saves of a trainer: {"modules": [{"handles": [{"flat_param.data": ...}]}]}.
bool IsListOfFlatParameters(const pickle::Node& root) {
  pickle::NodePtr node = &root;
  for (const std::string_view key : {"modules", "handles"}) {
    pickle::NodePtr list = node->IsMapping() ? node->Find(key) : nullptr;
    if (list == nullptr || !list->Is(pickle::Kind::kList) || Items(*list).empty()) return false;
    node = Items(*list)[0];
  }
  return node->IsMapping() && node->Find(kFlatData) != nullptr;
}

class RankReader {
 public:
  RankReader(SourceFiles& source, const std::string& folder, const SourceContext& context)
      : source_(source), folder_(folder), shown_(ShownPath(source, folder)), context_(context) {}

  Result<Checkpoint> Read(std::span<const SourceEntry> entries) {
    WEIGHTFS_TRY(const std::vector<std::string> names, FindFiles(entries));
    for (size_t rank = 0; rank < names.size(); ++rank)
      WEIGHTFS_CHECK(AddRank(JoinPath(folder_, names[rank]), rank, names.size()));
    for (auto& [name, sharded] : sharded_) WEIGHTFS_CHECK(AssembleOne(name, sharded));
    joined_.format = "fsdp-ranks";
    WEIGHTFS_CHECK(CheckTensorNames(joined_, shown_, context_.limits));
    return std::move(joined_);
  }

 private:
  struct Sharded {
    Shape shape;
    DType dtype = DType::kU8;
    std::vector<PlacedView> parts;
    std::string file;
  };

  struct Rank {
    std::string path;
    uint64_t number = 0;
    uint64_t count = 0;
  };

  Result<std::vector<std::string>> FindFiles(std::span<const SourceEntry> entries) {
    std::map<uint32_t, std::string> by_rank;
    std::set<std::string_view> models;
    for (const SourceEntry& entry : entries) {
      const std::optional<RankName> name = entry.is_directory ? std::nullopt : ParseRankName(entry.name);
      if (!name) continue;
      models.insert(name->model);
      by_rank.emplace(name->rank, entry.name);
    }
    if (models.size() > 1)
      return Fail(ErrorCode::kAmbiguous,
                  fmt::format("{}: files of ranks of several models, {}; expected those of one", shown_,
                              fmt::join(models, ", ")),
                  "put the files of each model into a folder of its own");
    has_bare_names_ = !models.empty() && models.begin()->empty();
    std::vector<std::string> names;
    for (auto& [rank, name] : by_rank) {
      if (rank != names.size())
        return Fail(ErrorCode::kNotFound,
                    fmt::format("{}: no file of rank {}, but {}; expected the files of all ranks", shown_,
                                names.size(), name),
                    "copy the files of all ranks together");
      names.push_back(std::move(name));
    }
    return names;
  }

  Status AddRank(const std::string& path, size_t rank, size_t count) {
    WEIGHTFS_TRY(const FilePtr file, source_.OpenWeights(path));
    WEIGHTFS_TRY(const TorchObject object, OpenTorchObject(file, context_));
    joined_.metadata_bytes += object.metadata_bytes;
    if (IsListOfFlatParameters(*object.tree.root())) return RefuseFlatParameter(kFlatData, file->name());
    // Trainers keep the state of their random numbers in files of such names too.
    const pickle::Node& root = *object.tree.root();
    if (has_bare_names_ && (!root.IsMapping() || root.Find("model") == nullptr))
      return Fail(ErrorCode::kNotFound,
                  fmt::format("{}: no 'model' in it; expected the state of one, as files of ranks hold it",
                              file->name()));
    const Census census(*object.tree.root(), *object.storages);
    Result<StateDictChoice> choice =
        ChooseStateDict(*object.tree.root(), census, *object.storages, context_.weights_key_path);
    if (!choice) return std::unexpected(std::move(choice).error().Within(file->name()));
    rank_ = {path, rank, count};
    Status walked = Walk(*choice->chosen(), census, object);
    if (!walked) return std::unexpected(std::move(walked).error().Within(file->name()));
    if (rank == 0) joined_.candidates = ListCandidates(*object.tree.root(), census, &*choice);
    return {};
  }

  /// The entries of a state dict and of mappings inside it.
  Status Walk(const pickle::Node& root, const Census& census, const TorchObject& object) {
    struct Branch {
      BranchCursor cursor;
      std::string prefix;
    };
    if (census.Find(root)->cyclic) return Fail(ErrorCode::kCorrupt, "a mapping that contains itself");
    std::vector<Branch> stack;
    stack.push_back({BranchCursor(root), {}});
    // Mappings that are shared are met at every place they have.
    WalkBudget budget(object.tree.size_bytes(), context_.limits);
    while (!stack.empty()) {
      const std::optional<BranchEntry> entry = stack.back().cursor.Next();
      if (!entry) {
        stack.pop_back();
        continue;
      }
      const std::optional<std::string> key = KeyText(*entry->key);
      const std::string name = stack.back().prefix + key.value_or(ClassName(*entry->key));
      WEIGHTFS_CHECK(budget.SpendEntries(1, name));
      WEIGHTFS_CHECK(budget.SpendNameBytes(name.size(), name));
      if (census.Find(*entry->value) != nullptr) {
        stack.push_back({BranchCursor(*entry->value), name + "."});
        continue;
      }
      if (Status added = AddEntry(name, *entry->value, object); !added)
        return std::unexpected(std::move(added).error().Within(fmt::format("tensor {}", Quoted(name))));
    }
    return {};
  }

  Status AddEntry(const std::string& name, const pickle::Node& value, const TorchObject& object) {
    if (!IsTensor(value, *object.storages)) {
      if (rank_.number == 0) joined_.left_out.push_back({name, ClassName(value)});
      return {};
    }
    WEIGHTFS_CHECK(RefuseFlatParameter(name, shown_));
    WEIGHTFS_TRY(std::optional<ShardedTensor> sharded,
                 ReadShardedTensor(value, *object.storages, context_.limits));
    if (sharded && sharded->unsupported_reason.empty()) return AddShards(name, *sharded);
    RebuiltTensor tensor;
    if (sharded) {
      tensor.unsupported_reason = std::move(sharded->unsupported_reason);
    } else {
      WEIGHTFS_TRY(tensor, RebuildTensor(value, *object.storages, context_.limits));
    }
    return AddWhole(name, std::move(tensor));
  }

  /// What is whole in one rank is so in all.
  Status AddWhole(const std::string& name, RebuiltTensor tensor) {
    if (!tensor.view) {
      if (rank_.number == 0)
        joined_.unsupported.push_back({name, std::move(tensor.unsupported_reason), rank_.path});
      return {};
    }
    if (rank_.number == 0) {
      whole_.emplace(name, *tensor.view);
      joined_.tensors.push_back({name, *std::move(tensor.view), std::move(tensor.storage), rank_.path});
      return {};
    }
    const auto first = whole_.find(name);
    if (first != whole_.end() && first->second.shape() == tensor.view->shape() &&
        first->second.dtype() == tensor.view->dtype())
      return {};
    return Fail(ErrorCode::kCorrupt,
                fmt::format("a tensor of shape {}, which the first rank has not; expected files of one save",
                            tensor.view->shape()));
  }

  Status AddShards(const std::string& name, ShardedTensor& tensor) {
    const auto [place, is_new] = sharded_.try_emplace(name);
    Sharded& sharded = place->second;
    if (is_new) {
      sharded.shape = tensor.shape;
      sharded.file = rank_.path;
    }
    if (sharded.shape != tensor.shape)
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("a part of shape {}, but of {} in ranks before; expected one save",
                              tensor.shape, sharded.shape));
    for (TensorPart& part : tensor.parts) {
      if (tensor.shard_axis) {
        Shape sizes = tensor.shape;
        part.offsets.assign(sizes.size(), 0);
        std::tie(part.offsets[*tensor.shard_axis], sizes[*tensor.shard_axis]) =
            ChunkOf(tensor.shape[*tensor.shard_axis], rank_.number, rank_.count);
        if (part.view.shape() != sizes)
          return Fail(ErrorCode::kCorrupt,
                      fmt::format("a part of shape {}; expected {}, that of rank {} of {} along axis {}",
                                  part.view.shape(), sizes, rank_.number, rank_.count, *tensor.shard_axis));
      }
      if (part.view.element_count() == 0) continue;
      if (sharded.parts.empty()) sharded.dtype = part.view.dtype();
      if (part.view.dtype() != sharded.dtype)
        return Fail(ErrorCode::kCorrupt, "parts of different dtypes; expected files of one save");
      sharded.parts.push_back({std::move(part.offsets), std::move(part.view)});
    }
    return {};
  }

  Status AssembleOne(const std::string& name, Sharded& sharded) {
    const std::string where = fmt::format("{}: tensor {}", shown_, Quoted(name));
    WEIGHTFS_TRY(AssembledParts whole, AssembleParts(sharded.shape, sharded.dtype, sharded.parts, where));
    joined_.tensors.push_back(
        {name, std::move(whole.view), fmt::format("{} parts", whole.part_count), std::move(sharded.file)});
    return {};
  }

  SourceFiles& source_;
  const std::string& folder_;
  const std::string shown_;
  const SourceContext& context_;
  bool has_bare_names_ = false;  ///< `rankN.pt`, which says nothing of a model.
  Rank rank_;                    ///< Whose file is read.
  std::map<std::string, Sharded> sharded_;
  std::map<std::string, TensorView> whole_;  ///< Of the first rank.
  Checkpoint joined_;
};

}  // namespace

bool IsShardedRankName(std::string_view name) { return ParseRankName(name).has_value(); }

Result<Checkpoint> ReadRankFiles(SourceFiles& source, const std::string& folder,
                                 std::span<const SourceEntry> entries, const SourceContext& context) {
  return RankReader(source, folder, context).Read(entries);
}

}  // namespace weightfs
