#include "fs/server.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <utility>

#include "fs/status.h"

namespace weightfs {
namespace {

constexpr std::string_view kStatusFolder = ".weightfs";
constexpr std::string_view kStatusPath = ".weightfs/status.json";
constexpr uint32_t kMetadataThreads = 4;
constexpr uint64_t kStatFsBlockBytes = 4096;
constexpr uint64_t kNameBytesMax = 255;

/// Stands in the tree for status.json, which is served from the handle of each open.
class StatusFile : public VirtualFile {
 public:
  StatusFile() : VirtualFile(0) {}
  Result<std::span<const std::byte>> Read(ByteRange, ReadScratch&) const override {
    return std::span<const std::byte>();
  }
  const void* wait_group() const override { return nullptr; }
};

int64_t ToNanoseconds(std::chrono::system_clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

}  // namespace

ThreadPlan ThreadPlan::Make(uint32_t threads_option, uint32_t wait_group_count) {
  const uint32_t processors = std::max(1u, std::thread::hardware_concurrency());
  ThreadPlan plan;
  plan.reads_per_group = threads_option != 0 ? threads_option : std::clamp(2 * processors, 4u, 16u);
  plan.extra_reads = 2 * plan.reads_per_group;
  plan.idle_max = plan.reads_per_group + kMetadataThreads;
  plan.threads_max = wait_group_count + plan.extra_reads + kMetadataThreads;
  return plan;
}

Server::Server(OpenedSource source, const MountOptions& options, std::string mountpoint)
    : source_(std::move(source)),
      options_(options),
      mountpoint_(mountpoint),
      errors_(std::move(mountpoint)) {}

Result<std::unique_ptr<Server>> Server::Make(OpenedSource source, const MountOptions& options,
                                             std::string mountpoint) {
  std::unique_ptr<Server> server(new Server(std::move(source), options, std::move(mountpoint)));
  VirtualTree& tree = server->source_.tree;
  const int64_t now = ToNanoseconds(server->started_);
  WEIGHTFS_TRY(NodeId folder, tree.AddFolder(kStatusFolder, now));
  tree.Hide(folder);
  WEIGHTFS_TRY(server->status_node_, tree.AddFile(kStatusPath, std::make_shared<StatusFile>(), now));
  server->table_ = std::make_unique<InodeTable>(tree, Owner{.user = geteuid(), .group = getegid()});
  if (server->source_.steps != nullptr) {
    server->steps_ = std::make_unique<StepWatcher>(server->source_.steps, *server->table_);
  }
  // Steps that come later bring sources of their own.
  const uint32_t groups = server->steps_ ? kWaitGroupsMax : server->table_->wait_group_count();
  server->threads_ = ThreadPlan::Make(options.threads, groups);
  server->reads_ = std::make_unique<ReadPath>(server->counters_, server->errors_, groups,
                                              server->threads_.reads_per_group, server->threads_.extra_reads);
  server->status_inode_ =
      InodeTable::InodeOf({server->table_->Find(FUSE_ROOT_ID)->tree, server->status_node_});
  server->status_bytes_.store(server->RenderStatus().size());
  return server;
}

void Server::Stop() { steps_.reset(); }

Result<NodeRef> Server::NodeOf(fuse_ino_t inode) const {
  const std::optional<NodeRef> node = table_->Find(inode);
  if (!node) return FailIo(ENOENT, "an inode that was never handed out");
  return *node;
}

Result<NodeRef> Server::FolderOf(fuse_ino_t inode) const {
  WEIGHTFS_TRY(NodeRef node, NodeOf(inode));
  if (!node.node().is_directory) return FailIo(ENOTDIR, "a file where a folder was meant");
  return node;
}

double Server::AttributeTimeout(NodeRef node) const {
  return IsStatus(node) || MayChange(node) ? 0.0 : kForeverSeconds;
}

struct stat Server::AttributesNow(NodeRef node) const {
  struct stat attributes = table_->Attributes(node);
  if (IsStatus(node)) attributes.st_size = static_cast<off_t>(status_bytes_.load());
  return attributes;
}

fuse_entry_param Server::EntryOf(NodeRef parent, NodeRef node) const {
  return {.ino = InodeTable::InodeOf(node),
          .generation = 0,
          .attr = AttributesNow(node),
          .attr_timeout = AttributeTimeout(node),
          .entry_timeout = MayChange(parent) ? 0.0 : kForeverSeconds};
}

Result<fuse_entry_param> Server::Lookup(fuse_ino_t parent, const char* name) {
  WEIGHTFS_TRY(NodeRef folder, FolderOf(parent));
  std::optional<NodeRef> child = table_->Child(folder, name);
  if (!child && MayChange(folder)) {
    steps_->Update();
    child = table_->Child(folder, name);
  }
  if (!child) return fuse_entry_param{.ino = 0, .entry_timeout = MayChange(folder) ? 0.0 : kForeverSeconds};
  return EntryOf(folder, *child);
}

Result<Server::TimedAttributes> Server::GetAttributes(fuse_ino_t inode) {
  WEIGHTFS_TRY(NodeRef node, NodeOf(inode));
  return TimedAttributes{AttributesNow(node), AttributeTimeout(node)};
}

Status Server::OpenFile(fuse_ino_t inode, fuse_file_info& file) {
  WEIGHTFS_TRY(NodeRef node, NodeOf(inode));
  if (node.node().is_directory) return FailIo(EISDIR, "open of a folder");
  if ((file.flags & O_ACCMODE) != O_RDONLY) return FailIo(EROFS, "open for writing");
  file.noflush = 1;
  if (IsStatus(node)) {
    auto snapshot = std::make_unique<StatusSnapshot>(std::make_shared<const std::string>(RenderStatus()));
    status_bytes_.store(snapshot->text->size());
    file.direct_io = 1;
    file.fh = reinterpret_cast<uintptr_t>(snapshot.release());
    return {};
  }
  file.keep_cache = 1;
  file.direct_io = options_.direct_io;
  file.fh = reinterpret_cast<uintptr_t>(&node.file());
  return {};
}

void Server::ReleaseFile(fuse_ino_t inode, const fuse_file_info& file) {
  if (inode == status_inode_) delete reinterpret_cast<StatusSnapshot*>(file.fh);
}

Status Server::OpenFolder(fuse_ino_t inode, fuse_file_info& file) {
  WEIGHTFS_TRY(NodeRef folder, FolderOf(inode));
  if (MayChange(folder)) {
    steps_->Update();
  } else {
    file.cache_readdir = 1;
    file.keep_cache = 1;
  }
  return {};
}

Result<std::optional<Server::ListedEntry>> Server::List(fuse_ino_t inode, uint64_t position) {
  WEIGHTFS_TRY(NodeRef folder, FolderOf(inode));
  const std::optional<InodeTable::ListEntry> entry = table_->EntryAt(folder, position);
  if (!entry) return std::nullopt;
  return ListedEntry{.name = entry->name, .entry = EntryOf(folder, entry->node), .next = entry->next};
}

void Server::Read(Reply& reply, fuse_ino_t inode, uint64_t offset_bytes, uint64_t size_bytes,
                  const fuse_file_info& file) {
  if (inode == status_inode_) {
    const std::shared_ptr<const std::string> text = reinterpret_cast<const StatusSnapshot*>(file.fh)->text;
    const uint64_t begin = std::min<uint64_t>(offset_bytes, text->size());
    reply.Bytes(std::as_bytes(std::span(*text)).subspan(begin, std::min(size_bytes, text->size() - begin)));
  } else {
    reads_->Read(reply, *reinterpret_cast<const ServedFile*>(file.fh), offset_bytes, size_bytes);
  }
}

struct statvfs Server::StatFs() const {
  struct statvfs statistics = {};
  statistics.f_bsize = kStatFsBlockBytes;
  statistics.f_frsize = kStatFsBlockBytes;
  statistics.f_blocks = (table_->listed_bytes() + kStatFsBlockBytes - 1) / kStatFsBlockBytes;
  statistics.f_files = table_->node_count();
  statistics.f_namemax = kNameBytesMax;
  statistics.f_flag = ST_RDONLY | ST_NOSUID | ST_NODEV;
  return statistics;
}

std::string Server::RenderStatus() const {
  return StatusJson({.source = &source_,
                     .options = &options_,
                     .mountpoint = mountpoint_,
                     .started = started_,
                     .reads_per_group = threads_.reads_per_group,
                     .threads_max = threads_.threads_max,
                     .readahead_bytes = readahead_bytes_.load(),
                     .counters = counters_.Sum(),
                     .errors = errors_.Last()});
}

}  // namespace weightfs
