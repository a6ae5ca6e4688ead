/// \file
/// The steps of `Open`. Internal to `convert`.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/relative_path.h"
#include "convert/convert.h"
#include "convert/name_filter.h"
#include "convert/source/huggingface/repository.h"
#include "convert/source/source_files.h"

namespace weightfs {

/// A file of the view that is not weights, before config.json is edited.
struct SideFile {
  std::string path;    ///< In the view.
  std::string origin;  ///< What the manifest says: source, overlay or `--config`.
  std::shared_ptr<SourceFiles> files;
  std::string source_path;  ///< Relative to `files`.
  int64_t mtime_nanoseconds = 0;
};

/// Builds one OpenedSource, step by step; each step is a member that reads what the ones before it left.
class Opening {
 public:
  Opening(const std::string& source, const OpenOptions& options, NameFilter filter,
          std::shared_ptr<BlockCache> cache)
      : options_(options), filter_(std::move(filter)), cache_(std::move(cache)) {
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
                                       OpenOptions options, std::shared_ptr<BlockCache> cache);
  Status Graft(const std::string& step, OpenedSource opened);
  std::unexpected<Error> FailNothingWhole() const;
  Status ServeWeights(const WeightSet& set);
  Status ServeWeightSet(const WeightSet& set, int64_t& mtime_nanoseconds);
  Status CollectSideFiles();
  void AddSideFile(SideFile file);
  Status ServeSideFiles();
  Result<VirtualFilePtr> ServeConfig(const SideFile& file);
  void ReportFamily();
  void ReportConfig(const SideFile& file);
  Status Finish();

  const OpenOptions options_;
  NameFilter filter_;
  std::shared_ptr<BlockCache> cache_;
  std::shared_ptr<SourceFiles> source_;
  std::vector<std::shared_ptr<SourceFiles>> roots_;  ///< Source, overlays and the folder of `--config`.
  Repository repository_;
  std::vector<SideFile> side_files_;     ///< Sorted by path, one entry a path.
  std::vector<std::string> step_names_;  ///< Folders of training steps; not part of `repository_`.
  bool is_step_ = false;                 ///< Steps do not nest.
  int64_t newest_mtime_ = 0;
  OpenedSource opened_;
};

}  // namespace weightfs
