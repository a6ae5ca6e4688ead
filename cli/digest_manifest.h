/// \file
/// Digests as JSON, and the comparison of two views by their digests.
#pragma once

#include <string>
#include <vector>

#include "cli/digests.h"
#include "convert/base/result.h"
#include "convert/convert.h"

namespace weightfs::cli {

/// One thing that differs, for people and for JSON.
struct Mismatch {
  std::string name;  ///< A tensor, or a file.
  std::string what;  ///< "F16 [2, 3]; expected F32 [2, 3]"
};

/// What `verify --json` prints: one object, one tensor or file a line (docs/verify.schema.json).
/// \param against  what it was compared with, or nullptr
std::string DigestsJson(const weightfs::Report& report, const Digests& digests, const std::string* against,
                        const std::vector<Mismatch>& mismatches);

/// Reads what `DigestsJson` wrote.
/// \error kInvalidArgument  not there, or not such a file
Result<Digests> ReadDigestManifest(const std::string& path);

/// True when `path` is a regular file that begins with `{`: a manifest rather than a checkpoint.
bool IsDigestManifest(const std::string& path);

/// What of `actual` differs from `expected`: tensors by set, name, dtype, shape and bytes; where either has
/// just one set, whatever that is called. Files that hold no tensors are compared when `with_files`. Tensors
/// that `actual_report` lists as dropped are not missed.
std::vector<Mismatch> CompareDigests(const Digests& actual, const Digests& expected,
                                     const weightfs::Report& actual_report, bool with_files);

}  // namespace weightfs::cli
