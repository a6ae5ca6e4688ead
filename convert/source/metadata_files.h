/// \file
/// Files of settings beside the weights: JSON, YAML and TOML, found by name, parsed once.
///
/// Which folder is beside the weights, and which overlays lie over it, is for the caller to say. A bare file
/// has nothing beside it (docs/semantics.md 1.6).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "convert/base/limits.h"
#include "convert/base/result.h"
#include "convert/source/source_files.h"

namespace weightfs {

/// Used by one thread.
class MetadataFiles {
 public:
  /// \param number  what `{number}` stands for in names: the digits in the name of the weight file; may be
  /// empty
  MetadataFiles(Limits limits, std::string number);
  ~MetadataFiles();
  MetadataFiles(const MetadataFiles&) = delete;
  MetadataFiles& operator=(const MetadataFiles&) = delete;

  /// The files of `folder` (relative to the root of `files`) are beside the weights. Folders that are added
  /// later win, as overlays do.
  void AddFolder(std::shared_ptr<SourceFiles> files, std::string folder);
  /// The bare file that `files` is, under the name `name`; wins over every folder.
  void AddFile(std::string name, std::shared_ptr<SourceFiles> files);

  /// Whether there is a file of this name.
  bool Has(const std::string& name) const;
  /// The file of this name, parsed: JSON as Python's json module reads it (the last of equal keys wins, NaN
  /// is a number), YAML (`.yaml`, `.yml`) as yaml.h says, TOML (`.toml`). `*.toml` is the only file of that
  /// ending in the first folder that has just one. nullptr when there is none.
  /// \error kCorrupt, kLimitExceeded, kIo  it cannot be read or does not parse; the same error each time
  Result<const nlohmann::json*> Read(const std::string& name);

  /// Bytes of all files that were parsed.
  uint64_t metadata_bytes() const { return metadata_bytes_; }

 private:
  struct Place {
    std::shared_ptr<SourceFiles> files;
    std::string path;
  };
  std::string WithNumber(const std::string& name) const;
  std::optional<Place> Find(const std::string& name) const;
  Result<nlohmann::json> Parse(const Place& place, const std::string& name);

  const Limits limits_;
  const std::string number_;
  std::vector<Place> folders_;
  std::map<std::string, std::shared_ptr<SourceFiles>> files_;
  /// By name as asked for.
  std::map<std::string, std::unique_ptr<Result<nlohmann::json>>> parsed_;
  uint64_t metadata_bytes_ = 0;
};

}  // namespace weightfs
