#include "convert/source/huggingface/folder_scan.h"

#include <fmt/format.h>

#include <array>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "convert/base/relative_path.h"
#include "convert/source/huggingface/classify.h"
#include "convert/source/huggingface/weight_index.h"
#include "convert/source/utf8.h"

namespace weightfs {
namespace {

/// The weights of one (stem, variant) in one extension. Names of files of the folder; empty when there is
/// none.
struct Form {
  std::string single;
  std::string index;
  std::map<uint32_t, std::map<uint32_t, std::string>> numbered;  ///< By shard count, then by number.

  bool is_sharded() const { return !index.empty() || !numbered.empty(); }
};

/// Both forms, in order of precedence: safetensors, then `.bin`.
using Forms = std::array<Form, 2>;
using SetName = std::pair<std::string, std::string>;  ///< Stem, variant.

class FolderScanner {
 public:
  FolderScanner(const std::string& folder, SourceFiles& source, const Limits& limits)
      : folder_(folder), source_(source), limits_(limits) {}

  Result<FolderScan> Run(std::span<const SourceEntry> entries) {
    for (const SourceEntry& entry : entries)
      if (!entry.is_directory) names_.insert(entry.name);
    for (const SourceEntry& entry : entries)
      if (!entry.is_directory) Sort(entry);
    // Sharded sets first: an index may name files of any stem, which are then no sets of their own.
    for (const bool sharded : {true, false})
      for (const auto& [name, forms] : sets_)
        if (TakesIndex(forms) == sharded && !IsUsedUp(forms)) WEIGHTFS_CHECK(Choose(name, forms));
    AddBadLinks();
    HideTheRest();
    return std::move(scan_);
  }

 private:
  std::string Shown(std::string_view name) const { return JoinPath(source_.name(), JoinPath(folder_, name)); }

  void Sort(const SourceEntry& entry) {
    FileClass file = ClassifyFileName(entry.name);
    std::string path = JoinPath(folder_, entry.name);
    if (file.role == FileRole::kPlain) {
      scan_.files.push_back({std::move(path), entry.size_bytes, entry.mtime_nanoseconds});
      return;
    }
    if (file.role == FileRole::kHidden) {
      scan_.hidden.push_back({std::move(path), std::string(file.hidden_reason), file.is_torch_file});
      return;
    }
    weight_files_.push_back(entry.name);
    Form& form = sets_[{file.stem, file.variant}][file.is_safetensors ? 0 : 1];
    std::string& place = file.role == FileRole::kIndex ? form.index
                         : file.shard_count == 0       ? form.single
                                                       : form.numbered[file.shard_count][file.shard_number];
    // A plain file comes before its .lz4 and is taken when both are there.
    if (place.empty()) place = entry.name;
  }

  static bool TakesIndex(const Forms& forms) {
    const Form& first = Exists(forms[0]) ? forms[0] : forms[1];
    return first.single.empty() && !first.index.empty();
  }
  /// Every file of the set belongs to a set that was chosen before.
  bool IsUsedUp(const Forms& forms) const {
    for (const Form& form : forms) {
      if (!form.index.empty() || (!form.single.empty() && !used_.contains(form.single))) return false;
      for (const auto& [count, shards] : form.numbered)
        for (const auto& [number, name] : shards)
          if (!used_.contains(name)) return false;
    }
    return true;
  }

  /// Takes the first form that is there: a single file before shards, safetensors before `.bin`. An index
  /// none of whose files is there is passed over when a later form is whole: folders are downloaded by
  /// extension.
  Status Choose(const SetName& name, const Forms& forms) {
    std::optional<Error> passed_over;
    for (const bool is_safetensors : {true, false}) {
      const Form& form = forms[is_safetensors ? 0 : 1];
      if (form.single.empty() && !form.is_sharded()) continue;
      WeightSet set = {
          .folder = folder_, .stem = name.first, .variant = name.second, .is_safetensors = is_safetensors};
      auto status = form.single.empty() ? FillShards(form, set) : Result<Found>(Found::kAll);
      if (!form.single.empty()) set.shards.push_back(JoinPath(folder_, form.single));
      if (status && *status == Found::kAll) {
        if (passed_over)
          scan_.warnings.push_back(passed_over->message + "; the next form of the weights is served");
        Use(name, form, set);
        scan_.weights.push_back(std::move(set));
        return {};
      }
      if (status) {
        auto missing = SayMissing(form);
        if (!passed_over) passed_over = std::move(missing);
        if (*status == Found::kNone && is_safetensors && Exists(forms[1])) continue;
        scan_.failed.push_back({folder_, *std::move(passed_over)});
        return {};
      }
      if (status.error().code == ErrorCode::kIo) return std::unexpected(std::move(status).error());
      scan_.failed.push_back({folder_, std::move(status).error()});
      return {};
    }
    if (passed_over) scan_.failed.push_back({folder_, *std::move(passed_over)});
    return {};
  }
  static bool Exists(const Form& form) { return !form.single.empty() || form.is_sharded(); }

  enum class Found : uint8_t { kAll, kSome, kNone };

  /// Fills in index and shards of `set`; notes in `missing_` what is not there.
  Result<Found> FillShards(const Form& form, WeightSet& set) {
    missing_.clear();
    size_t found = 0;
    const auto add = [&](const std::string& name) {
      const std::string* file = FindFile(name);
      if (file == nullptr) {
        missing_.push_back(name);
        return;
      }
      ++found;
      set.shards.push_back(JoinPath(folder_, *file));
    };
    if (!form.index.empty()) {
      set.index_path = JoinPath(folder_, form.index);
      WEIGHTFS_TRY(const std::string text, source_.ReadSmall(set.index_path, limits_.index_json_bytes_max));
      WEIGHTFS_TRY(const WeightIndex index, ParseWeightIndex(text, Shown(form.index), limits_));
      if (index.shards.empty())
        return Fail(ErrorCode::kCorrupt,
                    fmt::format("{}: an empty weight_map; expected tensors", Shown(form.index)));
      for (const std::string& shard : index.shards) add(shard);
    } else {
      WEIGHTFS_CHECK(FillNumbered(form, set));
      found = set.shards.size();
    }
    return missing_.empty() ? Found::kAll : found == 0 ? Found::kNone : Found::kSome;
  }
  /// Shards without an index, in order of their numbers.
  Status FillNumbered(const Form& form, WeightSet& set) {
    if (form.numbered.size() > 1)
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: shards of {} and of {} files without an index; expected those of one set",
                              Shown(form.numbered.begin()->second.begin()->second),
                              form.numbered.begin()->first, form.numbered.rbegin()->first));
    const auto& [count, shards] = *form.numbered.begin();
    uint32_t next = 1;
    for (const auto& [number, name] : shards) {
      for (; next < number && missing_.size() <= kListedNamesMax; ++next)
        missing_.push_back(fmt::format("shard {} of {}", next, count));
      next = number + 1;
      set.shards.push_back(JoinPath(folder_, name));
    }
    for (; next <= count && missing_.size() <= kListedNamesMax; ++next)
      missing_.push_back(fmt::format("shard {} of {}", next, count));
    return {};
  }
  const std::string* FindFile(const std::string& name) const {
    auto file = names_.find(name);
    if (file == names_.end()) file = names_.find(name + ".lz4");
    return file == names_.end() ? nullptr : &*file;
  }

  Error SayMissing(const Form& form) const {
    for (const std::string& name : missing_)
      if (const auto link = source_.bad_links().find(JoinPath(folder_, name));
          link != source_.bad_links().end())
        return Fail(ErrorCode::kUnsupported, link->second).error();
    const size_t shown = std::min(missing_.size(), kListedNamesMax);
    std::string list = fmt::format("{}", fmt::join(missing_.begin(), missing_.begin() + shown, ", "));
    if (shown < missing_.size()) list += " and more";
    const std::string by =
        !form.index.empty() ? Shown(form.index) : Shown(form.numbered.begin()->second.begin()->second);
    return Fail(ErrorCode::kNotFound, fmt::format("{}: {} missing; expected every shard", by, list),
                "copy or download the missing shards")
        .error();
  }

  void Use(const SetName& name, const Form& form, const WeightSet& set) {
    for (const std::string& shard : set.shards) {
      std::string file = folder_.empty() ? shard : shard.substr(folder_.size() + 1);
      if (file.ends_with(".lz4")) used_.insert(file);
      used_.insert(std::move(file));
    }
    served_[name] = form.single.empty() ? (form.index.empty() ? "shards" : form.index) : form.single;
  }

  /// Weight files and indexes that no served set reads.
  void HideTheRest() {
    for (const std::string& name : weight_files_) {
      if (used_.contains(name)) continue;
      const FileClass file = ClassifyFileName(name);
      const auto served = served_.find({file.stem, file.variant});
      std::string reason = file.role == FileRole::kIndex ? "an index is made for the weights that are served"
                           : served != served_.end()
                               ? fmt::format("another form of the weights is served: {}", served->second)
                               : "part of weights that cannot be served";
      scan_.hidden.push_back({JoinPath(folder_, name), std::move(reason)});
    }
  }

  /// A set that is nothing but links to where they may not lead fails; other links are just left out.
  void AddBadLinks() {
    const std::string prefix = folder_.empty() ? "" : folder_ + "/";
    for (auto link = source_.bad_links().lower_bound(prefix);
         link != source_.bad_links().end() && link->first.starts_with(prefix); ++link) {
      const std::string_view name = std::string_view(link->first).substr(prefix.size());
      if (name.contains('/')) continue;
      const FileClass file = ClassifyFileName(name);
      if (file.role != FileRole::kWeights || served_.contains({file.stem, file.variant})) continue;
      scan_.failed.push_back({folder_, Fail(ErrorCode::kUnsupported, link->second).error()});
    }
  }

  const std::string& folder_;
  SourceFiles& source_;
  const Limits& limits_;
  FolderScan scan_;
  std::set<std::string> names_;
  std::vector<std::string> weight_files_;
  std::map<SetName, Forms> sets_;
  std::set<std::string> used_;
  std::map<SetName, std::string> served_;
  std::vector<std::string> missing_;
};

}  // namespace

Result<FolderScan> ScanFolder(const std::string& folder, std::span<const SourceEntry> entries,
                              SourceFiles& source, const Limits& limits) {
  return FolderScanner(folder, source, limits).Run(entries);
}

}  // namespace weightfs
