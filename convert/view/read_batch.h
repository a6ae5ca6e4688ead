/// \file
/// The source reads of one reply, collected so that small neighbours share one read.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "convert/base/result.h"
#include "convert/io/random_access_file.h"
#include "convert/view/kernels/element_ops.h"

namespace weightfs {

/// Packed stored elements to read, and where in the reply they go.
struct ReadJob {
  const RandomAccessFile* file;
  uint64_t source_begin;  ///< Of the first element, in `file`.
  uint32_t source_bytes;  ///< At most kStepBytesMax.
  uint32_t skip_bytes;    ///< As ElementPipeline::Run.
  const ElementPipeline* pipeline;
  std::span<std::byte> destination;
};

/// Jobs are done when the batch is full and at `Flush`, in the order of the source. Lives on the stack of one
/// read; allocates nothing.
class ReadBatch {
 public:
  /// The most source bytes of one job: a buffer full. Measured: reads of 1 MiB beat smaller ones, though
  /// these would be converted from a nearer cache, since every read also looks whether the file has changed.
  static constexpr uint32_t kStepBytesMax = 1_MiB;

  /// \param buffer  a read buffer for kStepBytesMax: aligned, ReadWithin's slack included
  explicit ReadBatch(std::span<std::byte> buffer) : buffer_(buffer) {}

  /// Takes a job on. `job.destination` is filled by the next `Flush` at the latest.
  /// \error as RandomAccessFile::ReadAt
  Status Add(const ReadJob& job) {
    if (count_ == jobs_.size()) WEIGHTFS_CHECK(Flush());
    jobs_[count_++] = job;
    return {};
  }

  /// Does all jobs taken on so far.
  /// \error as RandomAccessFile::ReadAt; the reply is then not to be used
  Status Flush();

 private:
  Status ReadGroup(std::span<const ReadJob> group, ByteRange range) const;

  std::span<std::byte> buffer_;
  size_t count_ = 0;
  std::array<ReadJob, 1024> jobs_;
};

}  // namespace weightfs
