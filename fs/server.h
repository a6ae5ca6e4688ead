/// \file
/// What each file system operation does, without FUSE requests: inode numbers in, results out.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "convert/convert.h"
#include "fs/counters.h"
#include "fs/error_log.h"
#include "fs/fuse_api.h"
#include "fs/inode_table.h"
#include "fs/read_path.h"
#include "fs/session.h"
#include "fs/step_watcher.h"

namespace weightfs {

/// How many threads a mount may use.
struct ThreadPlan {
  uint32_t reads_per_group = 0;  ///< `--threads`.
  uint32_t extra_reads = 0;      ///< Running beyond one per group, in total.
  uint32_t idle_max = 0;         ///< Threads kept for the next request.
  uint32_t threads_max = 0;      ///< All of them.

  /// \param threads_option  `MountOptions::threads`, 0 for the default
  static ThreadPlan Make(uint32_t threads_option, uint32_t wait_group_count);
};

/// The served tree and everything about it that lives as long as the mount. Thread-safe after construction.
class Server {
 public:
  /// Adds `/.weightfs/status.json` to the tree.
  /// \param mountpoint  absolute
  /// \error kCorrupt  the tree has that name already
  static Result<std::unique_ptr<Server>> Make(OpenedSource source, const MountOptions& options,
                                              std::string mountpoint);

  const ThreadPlan& threads() const { return threads_; }
  Counters& counters() { return counters_; }
  ReadPath& reads() { return *reads_; }

  /// The read-ahead that was set, for status.json; 0: as the kernel chose.
  void set_readahead_bytes(uint64_t bytes) { readahead_bytes_.store(bytes); }

  /// Ends what runs beside the requests. Call before destruction, when no request runs any more.
  void Stop();

  /// An absent name is an entry of inode 0, which the kernel remembers.
  /// \error kIo ENOENT, ENOTDIR  `parent` is no folder that was looked up
  Result<fuse_entry_param> Lookup(fuse_ino_t parent, const char* name);
  struct TimedAttributes {
    struct stat attributes;
    double timeout_seconds;
  };
  Result<TimedAttributes> GetAttributes(fuse_ino_t inode);
  /// Fills in the handle and the caching flags of `file`.
  /// \error kIo EROFS, EISDIR, ENOENT
  Status OpenFile(fuse_ino_t inode, fuse_file_info& file);
  void ReleaseFile(fuse_ino_t inode, const fuse_file_info& file);
  Status OpenFolder(fuse_ino_t inode, fuse_file_info& file);
  /// Answers now or later. `file` as OpenFile filled it in.
  void Read(Reply& reply, fuse_ino_t inode, uint64_t offset_bytes, uint64_t size_bytes,
            const fuse_file_info& file);
  struct ListedEntry {
    const char* name;
    fuse_entry_param entry;
    uint64_t next;  ///< The position to go on from.
  };
  /// The entry of a folder at or after `position`, or nothing at its end.
  /// \error kIo ENOENT, ENOTDIR
  Result<std::optional<ListedEntry>> List(fuse_ino_t folder, uint64_t position);
  struct statvfs StatFs() const;

 private:
  Server(OpenedSource source, const MountOptions& options, std::string mountpoint);

  /// What one open status.json says. The reader may close it as soon as it has the bytes, before the reply
  /// that carried them has returned: a read shares the text, so that it outlives the release.
  struct StatusSnapshot {
    std::shared_ptr<const std::string> text;
  };
  Result<NodeRef> NodeOf(fuse_ino_t inode) const;
  Result<NodeRef> FolderOf(fuse_ino_t inode) const;
  bool IsStatus(NodeRef node) const { return node.tree->index == 0 && node.id == status_node_; }
  /// The root of a folder of training steps: what it holds may grow.
  bool MayChange(NodeRef folder) const { return steps_ != nullptr && folder.is_root(); }
  struct stat AttributesNow(NodeRef node) const;
  double AttributeTimeout(NodeRef node) const;
  fuse_entry_param EntryOf(NodeRef parent, NodeRef node) const;
  std::string RenderStatus() const;

  OpenedSource source_;
  const MountOptions options_;
  const std::string mountpoint_;
  const std::chrono::system_clock::time_point started_ = std::chrono::system_clock::now();
  NodeId status_node_ = kNoNode;
  uint64_t status_inode_ = 0;
  std::unique_ptr<InodeTable> table_;
  std::unique_ptr<StepWatcher> steps_;  ///< nullptr: nothing is ever added.
  ThreadPlan threads_;
  Counters counters_;
  ErrorLog errors_;
  std::unique_ptr<ReadPath> reads_;
  std::atomic<uint64_t> readahead_bytes_ = 0;
  /// Size of the status text that was made last: what `stat` shows until the next one is made.
  std::atomic<uint64_t> status_bytes_ = 0;
};

}  // namespace weightfs
