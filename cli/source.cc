#include "cli/source.h"

#include <algorithm>
#include <thread>

#include "cli/messages.h"

namespace weightfs::cli {
namespace {

/// Calls `visit(id)` for every node that a listing shows, a folder before what it holds.
template <typename Visit>
void VisitListed(const VirtualTree& tree, const Visit& visit) {
  std::vector<NodeId> open = {kRootNode};
  while (!open.empty()) {
    const NodeId id = open.back();
    open.pop_back();
    const VirtualNode& node = tree.node(id);
    if (node.hidden) continue;
    if (id != kRootNode) visit(id);
    open.insert(open.end(), node.children.rbegin(), node.children.rend());
  }
}

}  // namespace

Result<OpenedSource> OpenSource(const CommandLine& line) { return Open(line.source, line.settings.open); }

void PrintNotes(const weightfs::Report& report) {
  for (const std::string& note : report.notes) PrintNote(note);
}

std::vector<ListedFile> ListFiles(const VirtualTree& tree) {
  std::vector<ListedFile> files;
  VisitListed(tree, [&](NodeId id) {
    if (!tree.node(id).is_directory) files.push_back({id, tree.Path(id), tree.node(id).size_bytes});
  });
  return files;
}

std::vector<std::string> ListFolders(const VirtualTree& tree) {
  std::vector<std::string> folders;
  VisitListed(tree, [&](NodeId id) {
    if (tree.node(id).is_directory) folders.push_back(tree.Path(id));
  });
  return folders;
}

uint32_t DefaultStreamThreads() { return std::clamp(std::thread::hardware_concurrency(), 2u, 4u); }

}  // namespace weightfs::cli
