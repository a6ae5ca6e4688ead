/// \file
/// The answer to one FUSE request: given exactly once.
#pragma once

#include <cstddef>
#include <span>

#include "fs/fuse_api.h"

namespace weightfs {

/// Owns a request until it is answered. Every member answers and ends the ownership; a second answer is a bug
/// that aborts; a request that nobody answered is answered EIO, so that no reader hangs. What the kernel says
/// of an answer (the reader was killed, the mount is gone) never leads to another: libfuse frees the request
/// in any case.
class Reply {
 public:
  explicit Reply(fuse_req_t request) : request_(request) {}
  ~Reply();
  Reply(const Reply&) = delete;
  Reply& operator=(const Reply&) = delete;

  void Error(int error_number);
  void Nothing();  ///< For forget, which has no answer.
  void Entry(const fuse_entry_param& entry);
  void Attributes(const struct stat& attributes, double timeout_seconds);
  void Bytes(std::span<const std::byte> bytes);
  void StatFs(const struct statvfs& statistics);
  /// \return false when the kernel will not use the handle, and so will never release it
  [[nodiscard]] bool Open(const fuse_file_info& file);

  /// Passes the duty to answer on (to a queue).
  fuse_req_t Release();

 private:
  fuse_req_t request_;
};

}  // namespace weightfs
