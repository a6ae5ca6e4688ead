/// \file
/// From a read request to its answer.
#pragma once

#include <cstdint>

#include "fs/counters.h"
#include "fs/error_log.h"
#include "fs/inode_table.h"
#include "fs/read_gate.h"
#include "fs/reply.h"
#include "fs/scratch_pool.h"

namespace weightfs {

/// Answers reads. Thread-safe. Does not own what it is given.
class ReadPath {
 public:
  /// \param group_count, per_group_max, extra_max  as for ReadGate
  ReadPath(Counters& counters, ErrorLog& errors, uint32_t group_count, uint32_t per_group_max,
           uint32_t extra_max);
  ~ReadPath();
  ReadPath(const ReadPath&) = delete;
  ReadPath& operator=(const ReadPath&) = delete;

  /// Answers a read of `size_bytes` from `offset_bytes` of `file` with every byte up to the end of the file,
  /// or an errno: now, or later from another thread when too many reads of its group run.
  void Read(Reply& reply, const ServedFile& file, uint64_t offset_bytes, uint64_t size_bytes);

  /// Answers every queued read with `error_number`. For the end of the mount.
  void AnswerQueued(int error_number);

 private:
  void Serve(const ReadRequest& read);
  void Fail(Reply& reply, const ReadRequest& read, const Error& error);

  Counters& counters_;
  ErrorLog& errors_;
  ScratchPool scratch_;
  ReadGate gate_;
};

}  // namespace weightfs
