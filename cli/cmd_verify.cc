// weightfs verify: read everything as a loader would, print digests, and compare.
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>

#include "cli/commands.h"
#include "cli/digest_manifest.h"
#include "cli/digests.h"
#include "cli/inspect_tensor.h"
#include "cli/messages.h"
#include "cli/source.h"
#include "cli/terminal.h"

namespace weightfs::cli {
namespace {

std::string DigestText(const Digests& digests) {
  std::string text;
  for (const FileDigest& file : digests.files)
    fmt::format_to(std::back_inserter(text), "{}  {}\n", file.sha256, Printable(file.path));
  for (const TensorDigest& tensor : digests.tensors)
    fmt::format_to(std::back_inserter(text), "{}  {}: {} {} {}\n", tensor.sha256, Printable(tensor.file),
                   Printable(tensor.name), tensor.dtype, ShapeText(tensor.shape));
  return text;
}

uint32_t Threads(const CommandLine& line) { return line.settings.threads > 0 ? line.settings.threads : 2; }

Result<Digests> Digest(const OpenedSource& opened, const CommandLine& line) {
  Progress progress("read", ListedBytes(opened.tree));
  return ComputeDigests(opened, Threads(line), progress);
}

/// The other side of a comparison: a manifest, or a checkpoint served as it is, through the same filters.
struct Expected {
  Digests digests;
  bool with_files = false;
};

/// \param stage  set to kOpening when what fails is the opening of the other checkpoint
Result<Expected> ReadExpected(const std::string& against, const CommandLine& line, Stage& stage) {
  struct stat attributes = {};
  if (stat(against.c_str(), &attributes) != 0)
    return UsageError(
        fmt::format("--against {}: {}; expected a folder or a manifest", against, std::strerror(errno)));
  Expected expected;
  if (S_ISREG(attributes.st_mode) && IsDigestManifest(against)) {
    expected.with_files = true;
    WEIGHTFS_TRY(expected.digests, ReadDigestManifest(against));
    return expected;
  }
  stage = Stage::kOpening;
  OpenOptions options;
  options.include = line.settings.open.include;
  options.exclude = line.settings.open.exclude;
  options.allowed_link_dirs = line.settings.open.allowed_link_dirs;
  options.source_io = line.settings.open.source_io;
  options.limits = line.settings.open.limits;
  WEIGHTFS_TRY(const OpenedSource other, Open(against, options));
  stage = Stage::kRunning;
  WEIGHTFS_TRY(expected.digests, Digest(other, line));
  return expected;
}

int Compare(const OpenedSource& opened, const CommandLine& line) {
  const std::string& against = *line.settings.against;
  Stage stage = Stage::kRunning;
  const Result<Expected> expected = ReadExpected(against, line, stage);
  if (!expected) return ReportError(expected.error(), stage);
  const Result<Digests> actual = Digest(opened, line);
  if (!actual) return ReportError(actual.error(), Stage::kRunning);
  const std::vector<Mismatch> mismatches =
      CompareDigests(*actual, expected->digests, opened.report, expected->with_files);
  for (const Mismatch& mismatch : mismatches)
    ReportError({ErrorCode::kCorrupt,
                 0,
                 fmt::format("{}: {}: {}", line.source, Printable(mismatch.name), mismatch.what),
                 {}},
                Stage::kRunning);
  const int printed = PrintOutput(
      line.settings.json
          ? DigestsJson(opened.report, *actual, &against, mismatches)
          : fmt::format("{} tensors compared with {}: {}\n", actual->tensors.size(), against,
                        mismatches.empty() ? "equal" : fmt::format("{} differ", mismatches.size())));
  return printed == kExitOk && !mismatches.empty() ? static_cast<int>(kExitFailed) : printed;
}

}  // namespace

int RunVerify(const CommandLine& line) {
  const Result<OpenedSource> opened = OpenSource(line);
  if (!opened) return ReportError(opened.error(), Stage::kOpening);
  PrintNotes(opened->report);
  if (line.settings.against) return Compare(*opened, line);
  const Result<Digests> digests = Digest(*opened, line);
  if (!digests) return ReportError(digests.error(), Stage::kRunning);
  return PrintOutput(line.settings.json ? DigestsJson(opened->report, *digests, nullptr, {})
                                        : DigestText(*digests));
}

}  // namespace weightfs::cli
