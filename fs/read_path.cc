#include "fs/read_path.h"

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include "fs/errno.h"

namespace weightfs {

ReadPath::ReadPath(Counters& counters, ErrorLog& errors, uint32_t group_count, uint32_t per_group_max,
                   uint32_t extra_max)
    : counters_(counters), errors_(errors), gate_(group_count, per_group_max, extra_max) {}

ReadPath::~ReadPath() { AnswerQueued(EIO); }

void ReadPath::Read(Reply& reply, const ServedFile& file, uint64_t offset_bytes, uint64_t size_bytes) {
  const uint64_t file_bytes = file.file->size_bytes();
  const uint64_t begin = std::min(offset_bytes, file_bytes);
  const uint64_t end = begin + std::min(size_bytes, file_bytes - begin);
  ReadRequest read{.request = reply.Release(),
                   .file = &file,
                   .range = {begin, end},
                   .group = file.wait_group,
                   .started = std::chrono::steady_clock::now()};
  if (read.group == kNeverWaits) {
    Serve(read);
    return;
  }
  if (!gate_.Enter(read)) {
    counters_.CountQueuedRead();
    return;
  }
  std::optional<ReadRequest> next = read;
  while (next) {
    Serve(*next);
    next = gate_.Leave(next->group);
  }
}

void ReadPath::AnswerQueued(int error_number) {
  for (const ReadRequest& read : gate_.TakeQueued()) Reply(read.request).Error(error_number);
}

void ReadPath::Serve(const ReadRequest& read) {
  Reply reply(read.request);
  if (read.range.size() > kReadBytesMax) {
    Fail(reply, read, {.code = ErrorCode::kInternal, .message = "a request above the agreed size"});
  } else if (read.range.empty()) {
    reply.Bytes({});
  } else {
    ScratchPool::Lease scratch = scratch_.Borrow();
    Result<std::span<const std::byte>> bytes = read.file->file->Read(read.range, *scratch);
    if (!bytes) {
      Fail(reply, read, bytes.error());
    } else if (bytes->size() != read.range.size()) {
      // A short reply would be taken for the end of the file.
      Fail(reply, read, {.code = ErrorCode::kInternal, .message = "a read that came out short"});
    } else {
      counters_.CountRead(read.file->file_class, bytes->size());
      reply.Bytes(*bytes);
    }
  }
  counters_.CountOperation(Operation::kRead, std::chrono::steady_clock::now() - read.started);
}

void ReadPath::Fail(Reply& reply, const ReadRequest& read, const Error& error) {
  const int error_number = ErrnoOf(error);
  counters_.CountError();
  errors_.Record(PathOf(*read.file), read.range.begin, error_number, error);
  reply.Error(error_number);
}

}  // namespace weightfs
