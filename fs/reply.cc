#include "fs/reply.h"

#include <cerrno>
#include <cstdlib>
#include <utility>

namespace weightfs {

Reply::~Reply() {
  if (request_ != nullptr) Error(EIO);
}

fuse_req_t Reply::Release() {
  if (request_ == nullptr) std::abort();
  return std::exchange(request_, nullptr);
}

void Reply::Error(int error_number) { fuse_reply_err(Release(), error_number); }

void Reply::Nothing() { fuse_reply_none(Release()); }

void Reply::Entry(const fuse_entry_param& entry) { fuse_reply_entry(Release(), &entry); }

void Reply::Attributes(const struct stat& attributes, double timeout_seconds) {
  fuse_reply_attr(Release(), &attributes, timeout_seconds);
}

void Reply::Bytes(std::span<const std::byte> bytes) {
  fuse_reply_buf(Release(), reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void Reply::StatFs(const struct statvfs& statistics) { fuse_reply_statfs(Release(), &statistics); }

bool Reply::Open(const fuse_file_info& file) { return fuse_reply_open(Release(), &file) == 0; }

}  // namespace weightfs
