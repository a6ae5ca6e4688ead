/// \file
/// The steps of `Open`. Internal to `convert`.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/relative_path.h"
#include "convert/convert.h"
#include "convert/family/family.h"
#include "convert/name_filter.h"
#include "convert/opened_weights.h"
#include "convert/served_set.h"
#include "convert/set_family.h"
#include "convert/source/huggingface/repository.h"
#include "convert/source/source_files.h"

namespace weightfs {

inline constexpr std::string_view kConfigName = "config.json";
/// A folder above a step whose files are each model's own: they are served beside it, where loaders look.
inline constexpr std::string_view kTokenizerFolder = "tokenizer";

/// A file of the view that is not weights, before config.json is edited.
struct SideFile {
  std::string path;                    ///< In the view.
  std::string origin;                  ///< What the manifest says: source, overlay, `--config` or the family.
  std::shared_ptr<SourceFiles> files;  ///< nullptr: `text` is the file.
  std::string source_path;             ///< Relative to `files`.
  std::string text;
  int64_t mtime_nanoseconds = 0;
};

/// A weight set between being opened and being laid out as files. Lies where its address stays.
struct PendingSet {
  WeightSet set;   ///< As it was found.
  WeightSet view;  ///< The same with the folder and the stem of the view.
  OpenedWeights weights;
  SetFamily family;
  FilePtr single;  ///< The file, when it could be served as it is.
  std::vector<DroppedTensor> unsupported;
  int64_t mtime_nanoseconds = 0;
};

/// Builds one OpenedSource, step by step; each step is a member that reads what the ones before it left.
class Opening {
 public:
  Opening(const std::string& source, const OpenOptions& options, NameFilter filter,
          std::shared_ptr<const FamilyRegistry> families, std::shared_ptr<BlockCache> cache)
      : options_(options),
        filter_(std::move(filter)),
        families_(std::move(families)),
        cache_(std::move(cache)) {
    opened_.report.source = source;
  }

  Result<OpenedSource> Run();

 private:
  Result<std::shared_ptr<SourceFiles>> OpenRoot(const std::string& path);
  Result<std::shared_ptr<SourceFiles>> OpenOptionRoot(std::string_view option, const std::string& path);
  Status FindBareFile();
  Status FindRepository();
  Status FindSteps();
  Result<bool> RootHasWeights();
  Status FindSideFilesAlone();
  Status ServeSteps();
  static Result<OpenedSource> OpenStep(const std::string& source, const std::string& step,
                                       OpenOptions options, std::shared_ptr<const FamilyRegistry> families,
                                       std::shared_ptr<BlockCache> cache);
  Status Graft(const std::string& step, OpenedSource opened);
  std::unexpected<Error> FailNothingWhole() const;
  Status TakeWeights(const WeightSet& set);
  Status TakeWeightSet(const WeightSet& set);
  Status LeaveOut(const WeightSet& set, Status failure);
  Status ServePending();
  Status ServeWeightSet(PendingSet& pending);
  SourceFiles& FilesOf(const WeightSet& set) const;
  Status PlaceSets();
  Status ForceFamily();
  void PlaceNewSets(size_t begin);
  void MoveSet(PendingSet& pending, const std::string& folder);
  void MoveSideFiles(const std::string& from, const std::string& to);
  void ForgetEmptyFolders(const std::string& top);
  bool HasClassName(const SideFile& file) const;
  bool IsPart(const std::string& folder) const;
  bool HasSet(const std::string& folder) const;
  Status TakeOverlayParts();
  void RenameParts(const PendingSet& pending);
  Status TellParts();
  void NameStems();
  void AddPipelineFiles(const PendingSet& pending);
  Result<OpenedWeights> OpenWeights(const WeightSet& set, FilePtr& single);
  Result<OpenedWeights> OpenSave(const WeightSet& set, const SourceContext& context);
  Result<OpenedWeights> OpenDcp(const WeightSet& set, const SourceContext& context);
  void NoteState(const WeightSet& set, const Checkpoint& first, std::string_view shown, std::string_view what,
                 bool are_masters);
  Status ServeBeside(const WeightSet& set, const Error& cause);
  Status CheckAlso() const;
  Status RefuseRankFile() const;
  Result<bool> RootIsSave();
  std::vector<std::string> FoldersAbove() const;
  Status OpenParents();
  Status CollectParentFiles();
  Result<SetFamily> FindFamily(const WeightSet& set, const OpenedWeights& weights,
                               const SetSurroundings& surroundings);
  Status OpenOptionRoots();
  Status CheckTag() const;
  Status CollectSideFiles();
  void AddDerived(const WeightSet& set, SetFamily& family, int64_t mtime_nanoseconds);
  bool IsTrainingConfig(const SideFile& file) const;
  void CompareDerived(const SideFile& given, const std::string& derived, const std::string& family);
  void AddSideFile(SideFile file);
  Status ServeSideFiles();
  Result<VirtualFilePtr> ServeConfig(const SideFile& file);
  void ReportFamily();
  void ReportIdentity();
  void NoteMissingConfigs();
  void ReportConfig(const SideFile& file);
  Status Finish();

  const OpenOptions options_;
  NameFilter filter_;
  std::shared_ptr<const FamilyRegistry> families_;
  std::shared_ptr<BlockCache> cache_;
  std::shared_ptr<SourceFiles> source_;
  std::vector<std::shared_ptr<SourceFiles>> roots_;     ///< Source, overlays and the folder of `--config`.
  std::vector<std::shared_ptr<SourceFiles>> overlays_;  ///< In the order of the options.
  std::vector<std::shared_ptr<SourceFiles>>
      parents_;                          ///< Above a tag or a step, which they describe; nearest last.
  std::shared_ptr<SourceFiles> config_;  ///< The file of `--config`, or nullptr.
  Repository repository_;
  std::deque<PendingSet> pending_;       ///< In the order of the repository, those of overlays last.
  std::vector<SideFile> side_files_;     ///< Sorted by path, one entry a path.
  std::vector<std::string> step_names_;  ///< Folders of training steps; not part of `repository_`.
  bool is_step_ = false;                 ///< Steps do not nest.
  int64_t newest_mtime_ = 0;
  /// Folders of sets whose type is not what their config.json says, and the type.
  std::map<std::string, DType> served_dtypes_;
  OpenedSource opened_;
};

}  // namespace weightfs
