#include "fs/operations.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>

#include "fs/errno.h"
#include "fs/server.h"

namespace weightfs {
namespace {

// The kernel counts every read-ahead as a background request. Above the threshold it leaves out read-ahead
// that nobody waits for; at the maximum it holds back reads that somebody waits for, whatever file they are
// of. So the threshold is what bounds the work in flight, and the maximum is out of reach of a stalled file.
constexpr unsigned kCongestionThreshold = 48;
constexpr unsigned kCongestionThresholdManyProcessors = 96;
constexpr unsigned kManyProcessors = 16;
constexpr unsigned kMaxBackground = 4096;

Server& ServerOf(fuse_req_t request) { return *static_cast<Server*>(fuse_req_userdata(request)); }

void Want(fuse_conn_info& connection, unsigned capability) {
  if (connection.capable & capability) connection.want |= capability;
}

void Init(void*, fuse_conn_info* connection) {
  // The content never changes, so there is nothing to look for at each read.
  connection->want &= ~FUSE_CAP_AUTO_INVAL_DATA;
  Want(*connection, FUSE_CAP_EXPLICIT_INVAL_DATA);
  Want(*connection, FUSE_CAP_PARALLEL_DIROPS);
  Want(*connection, FUSE_CAP_CACHE_SYMLINKS);
  Want(*connection, FUSE_CAP_ASYNC_READ);
  Want(*connection, FUSE_CAP_ASYNC_DIO);
  Want(*connection, FUSE_CAP_READDIRPLUS);
#ifdef FUSE_CAP_DIRECT_IO_ALLOW_MMAP
  Want(*connection, FUSE_CAP_DIRECT_IO_ALLOW_MMAP);
#endif
  // Splicing has been measured to cost more than it saves.
  connection->want &= ~(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
  connection->want &= ~FUSE_CAP_WRITEBACK_CACHE;
  // Also bounds the size of reads: what VirtualFile::Read takes.
  connection->max_write = std::min<unsigned>(connection->max_write, kReadBytesMax);
  const bool many = std::thread::hardware_concurrency() >= kManyProcessors;
  connection->max_background = kMaxBackground;
  connection->congestion_threshold = many ? kCongestionThresholdManyProcessors : kCongestionThreshold;
}

void Lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  Server& server = ServerOf(request);
  OperationTimer timer(server.counters(), Operation::kLookup);
  Reply reply(request);
  Result<fuse_entry_param> entry = server.Lookup(parent, name);
  entry ? reply.Entry(*entry) : reply.Error(ErrnoOf(entry.error()));
}

// Inodes live as long as the mount, so there is nothing to forget.
void Forget(fuse_req_t request, fuse_ino_t, uint64_t) { Reply(request).Nothing(); }
void ForgetMany(fuse_req_t request, size_t, fuse_forget_data*) { Reply(request).Nothing(); }

void GetAttributes(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
  Server& server = ServerOf(request);
  OperationTimer timer(server.counters(), Operation::kGetAttributes);
  Reply reply(request);
  Result<Server::TimedAttributes> result = server.GetAttributes(inode);
  result ? reply.Attributes(result->attributes, result->timeout_seconds)
         : reply.Error(ErrnoOf(result.error()));
}

void Open(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) {
  Server& server = ServerOf(request);
  OperationTimer timer(server.counters(), Operation::kOpen);
  Reply reply(request);
  if (Status opened = server.OpenFile(inode, *file); !opened) {
    reply.Error(ErrnoOf(opened.error()));
  } else if (!reply.Open(*file)) {
    server.ReleaseFile(inode, *file);
  }
}

void Release(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) {
  ServerOf(request).ReleaseFile(inode, *file);
  Reply(request).Error(0);
}

void Read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, fuse_file_info* file) {
  Reply reply(request);
  if (offset < 0) {
    reply.Error(EINVAL);
  } else {
    ServerOf(request).Read(reply, inode, static_cast<uint64_t>(offset), size, *file);
  }
}

void OpenFolder(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) {
  Server& server = ServerOf(request);
  OperationTimer timer(server.counters(), Operation::kOpen);
  Reply reply(request);
  if (Status opened = server.OpenFolder(inode, *file); !opened) {
    reply.Error(ErrnoOf(opened.error()));
  } else {
    (void)reply.Open(*file);  // A folder's handle holds nothing.
  }
}

bool IsDot(std::string_view name) { return name == "." || name == ".."; }

/// Packs entries of folder `inode` from `position` on, as many as fit into `size` bytes.
void ListFolder(fuse_req_t request, fuse_ino_t inode, size_t size, off_t position, bool with_attributes) {
  Server& server = ServerOf(request);
  OperationTimer timer(server.counters(), Operation::kListFolder);
  Reply reply(request);
  size = std::min<size_t>(size, kReadBytesMax);
  auto buffer = std::make_unique_for_overwrite<char[]>(size);
  size_t used = 0;
  auto next = static_cast<uint64_t>(position);
  while (true) {
    Result<std::optional<Server::ListedEntry>> listed = server.List(inode, next);
    if (!listed) {
      reply.Error(ErrnoOf(listed.error()));
      return;
    }
    if (!*listed) break;
    auto& [name, entry, after] = **listed;
    if (IsDot(name)) entry.ino = 0;  // The kernel takes no reference to these.
    char* to = buffer.get() + used;
    const auto next_position = static_cast<off_t>(after);
    const size_t needed = with_attributes
                              ? fuse_add_direntry_plus(request, to, size - used, name, &entry, next_position)
                              : fuse_add_direntry(request, to, size - used, name, &entry.attr, next_position);
    if (needed > size - used) break;
    used += needed;
    next = after;
  }
  reply.Bytes(std::as_bytes(std::span(buffer.get(), used)));
}

void ReadFolder(fuse_req_t request, fuse_ino_t inode, size_t size, off_t position, fuse_file_info*) {
  ListFolder(request, inode, size, position, /*with_attributes=*/false);
}

void ReadFolderPlus(fuse_req_t request, fuse_ino_t inode, size_t size, off_t position, fuse_file_info*) {
  ListFolder(request, inode, size, position, /*with_attributes=*/true);
}

void StatFs(fuse_req_t request, fuse_ino_t) {
  Server& server = ServerOf(request);
  OperationTimer timer(server.counters(), Operation::kStatFs);
  Reply(request).StatFs(server.StatFs());
}

}  // namespace

const fuse_lowlevel_ops& Operations() {
  // Operations that are left out answer ENOSYS, which the kernel remembers: no extended attributes, no flush,
  // no access checks (default_permissions has the kernel make them).
  static const fuse_lowlevel_ops operations = [] {
    fuse_lowlevel_ops table = {};
    table.init = Init;
    table.lookup = Lookup;
    table.forget = Forget;
    table.forget_multi = ForgetMany;
    table.getattr = GetAttributes;
    table.open = Open;
    table.release = Release;
    table.read = Read;
    table.opendir = OpenFolder;
    table.readdir = ReadFolder;
    table.readdirplus = ReadFolderPlus;
    table.statfs = StatFs;
    return table;
  }();
  return operations;
}

}  // namespace weightfs
