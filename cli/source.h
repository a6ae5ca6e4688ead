/// \file
/// Opening the SOURCE of a command.
#pragma once

#include "cli/command_line.h"
#include "convert/base/result.h"
#include "convert/convert.h"

namespace weightfs::cli {

/// Opens the source of `line` with its options.
/// \error as weightfs::Open; the remedy says more where an option is meant for sources that this version does
/// not read
Result<OpenedSource> OpenSource(const CommandLine& line);

/// Prints the notes of a report, one line each, on stderr.
void PrintNotes(const weightfs::Report& report);

/// A regular file that a listing of the tree shows.
struct ListedFile {
  NodeId node = kNoNode;
  std::string path;  ///< Relative to the root.
  uint64_t size_bytes = 0;
};

/// All files that are not hidden, nor below a hidden folder, in order of their paths.
std::vector<ListedFile> ListFiles(const VirtualTree& tree);
/// All such folders, the root excepted, each after the one that holds it.
std::vector<std::string> ListFolders(const VirtualTree& tree);

/// The number of threads that stream files when `--threads` does not say.
uint32_t DefaultStreamThreads();

}  // namespace weightfs::cli
