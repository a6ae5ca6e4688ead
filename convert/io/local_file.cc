#include "convert/io/local_file.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <mutex>
#include <optional>
#include <utility>

#include "convert/io/direct_io.h"
#include "convert/io/file_identity.h"
#include "convert/io/residency.h"
#include "convert/io/source_name.h"

namespace weightfs {
namespace {

/// Shorter ranges are read through the page cache, and never dropped from it: see the class comment.
constexpr uint64_t kDirectBytesMin = 16_KiB;

/// True when so much of a range is cached that reading through the cache is the cheaper way.
bool MostlyResident(const Residency& residency) {
  return residency.resident_pages * 8 >= residency.total_pages * 7;
}

bool HardlyResident(const Residency& residency) {
  return residency.resident_pages * 8 < residency.total_pages;
}

bool IsAligned(const void* address) {
  return reinterpret_cast<uintptr_t>(address) % kReadAlignmentBytes == 0;
}

/// What both descriptor policies share: the identity, its check, the sticky failure, buffered reads,
/// counters.
class IdentifiedFile : public LocalFile {
 public:
  const FileIdentity& identity() const override { return identity_; }
  const LocalFileCounters& counters() const override { return counters_; }
  const std::string& resolved_path() const override { return source_.resolved_path(); }
  Location location() const override { return {this, 0}; }

 protected:
  IdentifiedFile(std::string name, SourceName source, const FileIdentity& identity)
      : LocalFile(std::move(name), identity.size_bytes), source_(std::move(source)), identity_(identity) {}

  /// The failure of a file that was seen to change; success otherwise.
  Status CheckNotStale() const {
    if (!stale_.load(std::memory_order_acquire)) [[likely]]
      return {};
    return std::unexpected(stale_error_);
  }
  /// Looks at the name and at the open file again. A change is remembered and is kStale.
  Status CheckUnchanged(int fd) const;
  Status CheckUnchangedFile(int fd) const;
  /// The outcome of a read: a change of the file explains any failure, so it is looked for first.
  Status Conclude(Status read, int fd) const {
    Status unchanged = CheckUnchanged(fd);
    if (!unchanged && unchanged.error().code == ErrorCode::kStale) return unchanged;
    WEIGHTFS_CHECK(std::move(read));
    return unchanged;
  }
  Status ReadBuffered(int fd, uint64_t offset_bytes, std::span<std::byte> destination) const;
  Status ReadFailure(int error_number, uint64_t offset_bytes, uint64_t size_bytes) const;
  Status FailStale(std::string what) const;
  void CountRead(std::atomic<uint64_t>& way, uint64_t bytes) const {
    way.fetch_add(1, std::memory_order_relaxed);
    counters_.bytes_read.fetch_add(bytes, std::memory_order_relaxed);
  }
  SourceIoReport ReportCounters() const {
    SourceIoReport report;
    report.direct_reads = counters_.direct_reads.load(std::memory_order_relaxed);
    report.buffered_reads = counters_.buffered_reads.load(std::memory_order_relaxed);
    report.bytes_read = counters_.bytes_read.load(std::memory_order_relaxed);
    return report;
  }

  SourceName source_;
  FileIdentity identity_;
  mutable LocalFileCounters counters_;

 private:
  mutable std::atomic<bool> stale_{false};
  mutable std::once_flag stale_once_;
  mutable Error stale_error_;  // written once, before stale_ is set
};

Status IdentifiedFile::FailStale(std::string what) const {
  std::call_once(stale_once_, [&] {
    stale_error_ = {
        ErrorCode::kStale, ESTALE,
        fmt::format("{}: changed after it was mounted ({}); expected the file as it was then", name(), what),
        "unmount and mount again"};
    stale_.store(true, std::memory_order_release);
  });
  return std::unexpected(stale_error_);
}

Status IdentifiedFile::CheckUnchangedFile(int fd) const {
  struct stat attributes{};
  if (fstat(fd, &attributes) != 0) {
    if (errno == ESTALE) return FailStale("the file server no longer knows it");
    return FailIo(errno, name() + ": cannot be checked for changes");
  }
  const FileIdentity now = IdentityOf(attributes);
  if (!IsSameContent(identity_, now)) [[unlikely]]
    return FailStale(DescribeChange(identity_, now));
  return {};
}

Status IdentifiedFile::CheckUnchanged(int fd) const {
  struct stat attributes{};
  if (const int error_number = source_.Stat(&attributes); error_number != 0) [[unlikely]] {
    if (error_number == ENOENT || error_number == ENOTDIR) return FailStale("removed or renamed");
    if (error_number == ESTALE) return FailStale("the file server no longer knows it");
    return FailIo(error_number, name() + ": cannot be checked for changes");
  }
  const FileIdentity now = IdentityOf(attributes);
  if (!IsSameContent(identity_, now)) [[unlikely]]
    return FailStale(DescribeChange(identity_, now));
  return CheckUnchangedFile(fd);
}

Status IdentifiedFile::ReadFailure(int error_number, uint64_t offset_bytes, uint64_t size_bytes) const {
  if (error_number == ESTALE) return FailStale("the file server no longer knows it");
  return FailIo(error_number,
                fmt::format("{}: offset {}: {} bytes cannot be read", name(), offset_bytes, size_bytes));
}

Status IdentifiedFile::ReadBuffered(int fd, uint64_t offset_bytes, std::span<std::byte> destination) const {
  while (!destination.empty()) {
    const ssize_t got = pread(fd, destination.data(), destination.size(), static_cast<off_t>(offset_bytes));
    if (got < 0) {
      if (errno == EINTR) continue;
      return ReadFailure(errno, offset_bytes, destination.size());
    }
    if (got == 0) {
      return std::unexpected(Error{ErrorCode::kIo,
                                   EIO,
                                   fmt::format("{}: offset {}: the file ended early; expected {} bytes",
                                               name(), offset_bytes, size_bytes()),
                                   {}});
    }
    destination = destination.subspan(static_cast<size_t>(got));
    offset_bytes += static_cast<uint64_t>(got);
  }
  return {};
}

/// DescriptorPolicy::kHeld.
class HeldFile final : public IdentifiedFile {
 public:
  HeldFile(std::string name, SourceName source, const FileIdentity& identity, Descriptor fd,
           SourceIo source_io)
      : IdentifiedFile(std::move(name), std::move(source), identity),
        fd_(std::move(fd)),
        source_io_(source_io) {}

  /// Chooses the way of reading. Called once, before the file is shared.
  Status Prepare(const struct stat& attributes);

  bool direct_io_possible() const override {
    return direct_.fd.valid() && !direct_refused_.load(std::memory_order_relaxed);
  }
  SourceIoReport source_io_report() const override;

 protected:
  Status DoReadAt(uint64_t offset_bytes, std::span<std::byte> destination) const override;
  Result<std::span<const std::byte>> DoReadWithin(ByteRange range,
                                                  std::span<std::byte> buffer) const override;
  Status DoReadStrided(const Stride& stride, std::span<std::byte> destination,
                       uint64_t pitch_bytes) const override;
  void WillRead(ByteRange range) const override;
  void DropBehind(ByteRange range) const override;

 private:
  bool WantsDirect(ByteRange range) const;
  Status ReadDirect(ByteRange blocks, uint64_t wanted_end, std::span<std::byte> buffer) const;
  Status ReadThroughCache(uint64_t offset_bytes, std::span<std::byte> destination) const;

  Descriptor fd_;
  SourceIo source_io_;
  DirectDescriptor direct_;
  ResidencyProbe probe_ = ResidencyProbe::kNone;
  bool drops_behind_ = false;
  bool drops_strided_ = false;  ///< `DropBehind` does: hardly anything was cached when the file was opened.
  mutable std::atomic<bool> direct_refused_{false};
};

Status HeldFile::Prepare(const struct stat& attributes) {
  if (source_io_ == SourceIo::kBuffered) {
    direct_.obstacle = "buffered reads were asked for";
    return {};
  }
  auto direct = OpenDirect(fd_.get(), source_, attributes);
  if (!direct) return OpenFailure(direct.error().error_number, name());
  direct_ = *std::move(direct);
  probe_ = ChooseResidencyProbe(fd_.get(), attributes);
  if (direct_.fd.valid()) posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_RANDOM);
  if (!LivesInPageCache(fd_.get()) && size_bytes() > 0) {
    const std::optional<Residency> residency = ProbeResidency(probe_, fd_.get(), {0, size_bytes()});
    drops_strided_ = residency && HardlyResident(*residency);
    drops_behind_ = drops_strided_ && !direct_.fd.valid();
  }
  return {};
}

bool HeldFile::WantsDirect(ByteRange range) const {
  if (!direct_io_possible()) return false;
  if (source_io_ == SourceIo::kDirect) return true;
  if (range.size() < kDirectBytesMin) return false;
  const std::optional<Residency> residency = ProbeResidency(probe_, fd_.get(), range);
  return !residency || !MostlyResident(*residency);
}

Status HeldFile::ReadDirect(ByteRange blocks, uint64_t wanted_end, std::span<std::byte> buffer) const {
  CountRead(counters_.direct_reads, blocks.size());
  const uint64_t wanted_bytes = wanted_end - blocks.begin;
  uint64_t done = 0;
  while (done < wanted_bytes && done % kReadAlignmentBytes == 0) {
    const ssize_t got = pread(direct_.fd.get(), buffer.data() + done, blocks.size() - done,
                              static_cast<off_t>(blocks.begin + done));
    if (got > 0) {
      done += static_cast<uint64_t>(got);
      continue;
    }
    if (got == 0) break;
    if (errno == EINTR) continue;
    if (errno != EINVAL && errno != EOPNOTSUPP)
      return ReadFailure(errno, blocks.begin + done, wanted_bytes - done);
    direct_refused_.store(true, std::memory_order_relaxed);
    break;
  }
  if (done >= wanted_bytes) return {};
  // A read that stopped between blocks, or at the end of the file, cannot go on directly; the other way tells
  // more.
  return ReadBuffered(fd_.get(), blocks.begin + done, buffer.subspan(done, wanted_bytes - done));
}

Status HeldFile::ReadThroughCache(uint64_t offset_bytes, std::span<std::byte> destination) const {
  CountRead(counters_.buffered_reads, destination.size());
  WEIGHTFS_CHECK(ReadBuffered(fd_.get(), offset_bytes, destination));
  if (!drops_behind_ || destination.size() < kDirectBytesMin) return {};
  // Pages that the range shares with its neighbours stay: those will read them.
  const uint64_t end = offset_bytes + destination.size();
  const uint64_t first = AlignUp(offset_bytes, kReadAlignmentBytes);
  const uint64_t last =
      end == size_bytes() ? AlignUp(end, kReadAlignmentBytes) : AlignDown(end, kReadAlignmentBytes);
  if (first < last)
    posix_fadvise(fd_.get(), static_cast<off_t>(first), static_cast<off_t>(last - first),
                  POSIX_FADV_DONTNEED);
  return {};
}

Status HeldFile::DoReadAt(uint64_t offset_bytes, std::span<std::byte> destination) const {
  WEIGHTFS_CHECK(CheckNotStale());
  if (destination.empty()) return {};
  const ByteRange range{offset_bytes, offset_bytes + destination.size()};
  const bool aligned = IsAligned(destination.data()) && range.begin % kReadAlignmentBytes == 0 &&
                       range.end % kReadAlignmentBytes == 0;
  if (aligned && WantsDirect(range)) return Conclude(ReadDirect(range, range.end, destination), fd_.get());
  return Conclude(ReadThroughCache(offset_bytes, destination), fd_.get());
}

Result<std::span<const std::byte>> HeldFile::DoReadWithin(ByteRange range,
                                                          std::span<std::byte> buffer) const {
  WEIGHTFS_CHECK(CheckNotStale());
  if (range.empty()) return buffer.first(0);
  const ByteRange blocks{AlignDown(range.begin, kReadAlignmentBytes),
                         AlignUp(range.end, kReadAlignmentBytes)};
  if (IsAligned(buffer.data()) && buffer.size() >= blocks.size() && WantsDirect(range)) {
    WEIGHTFS_CHECK(Conclude(ReadDirect(blocks, range.end, buffer), fd_.get()));
    return buffer.subspan(range.begin - blocks.begin, range.size());
  }
  const std::span<std::byte> destination = buffer.first(range.size());
  WEIGHTFS_CHECK(Conclude(ReadThroughCache(range.begin, destination), fd_.get()));
  return destination;
}

/// Through the page cache, since the next gather wants the bytes between the pieces: each page is then read
/// from the device once.
Status HeldFile::DoReadStrided(const Stride& stride, std::span<std::byte> destination,
                               uint64_t pitch_bytes) const {
  WEIGHTFS_CHECK(CheckNotStale());
  CountRead(counters_.buffered_reads, stride.count * stride.piece_bytes);
  Status read;
  for (uint64_t i = 0; i < stride.count && read; ++i)
    read = ReadBuffered(fd_.get(), stride.begin_bytes + i * stride.distance_bytes,
                        destination.subspan(i * pitch_bytes, stride.piece_bytes));
  return Conclude(std::move(read), fd_.get());
}

/// Read-ahead may be off, so the kernel is told of the range, unless it has it.
void HeldFile::WillRead(ByteRange range) const {
  const std::optional<Residency> residency = ProbeResidency(probe_, fd_.get(), range);
  if (residency && residency->resident_pages == residency->total_pages) return;
  posix_fadvise(fd_.get(), static_cast<off_t>(range.begin), static_cast<off_t>(range.size()),
                POSIX_FADV_WILLNEED);
}

void HeldFile::DropBehind(ByteRange range) const {
  // Pages that the range shares with its neighbours stay: those will read them.
  const uint64_t first = AlignUp(range.begin, kReadAlignmentBytes);
  const uint64_t last = AlignDown(range.end, kReadAlignmentBytes);
  if (drops_strided_ && first < last)
    posix_fadvise(fd_.get(), static_cast<off_t>(first), static_cast<off_t>(last - first),
                  POSIX_FADV_DONTNEED);
}

SourceIoReport HeldFile::source_io_report() const {
  SourceIoReport report = ReportCounters();
  report.direct_io_possible = direct_io_possible();
  report.obstacle = direct_.obstacle;
  if (direct_refused_.load(std::memory_order_relaxed))
    report.obstacle = "the file system refused a direct read";
  report.drops_behind = drops_behind_;
  return report;
}

/// DescriptorPolicy::kPerRead.
class ReopenedFile final : public IdentifiedFile {
 public:
  ReopenedFile(std::string name, SourceName source, const FileIdentity& identity)
      : IdentifiedFile(std::move(name), std::move(source), identity) {}

  bool direct_io_possible() const override { return false; }
  SourceIoReport source_io_report() const override {
    SourceIoReport report = ReportCounters();
    report.obstacle = "opened anew for each read";
    return report;
  }

 protected:
  Status DoReadAt(uint64_t offset_bytes, std::span<std::byte> destination) const override;
};

Status ReopenedFile::DoReadAt(uint64_t offset_bytes, std::span<std::byte> destination) const {
  WEIGHTFS_CHECK(CheckNotStale());
  if (destination.empty()) return {};
  const Descriptor fd = source_.Open();
  if (!fd.valid()) {
    if (errno == ENOENT || errno == ENOTDIR) return FailStale("removed or renamed");
    if (errno == ELOOP || errno == ENXIO) return FailStale("another file has its name");
    if (errno == ESTALE) return FailStale("the file server no longer knows it");
    return OpenFailure(errno, name());
  }
  // Before the read too: what is there now may be a device or a FIFO, whose reads have effects or never end.
  WEIGHTFS_CHECK(CheckUnchangedFile(fd.get()));
  CountRead(counters_.buffered_reads, destination.size());
  return Conclude(ReadBuffered(fd.get(), offset_bytes, destination), fd.get());
}

Status CheckIsRegular(const struct stat& attributes, const std::string& name) {
  if (S_ISREG(attributes.st_mode)) return {};
  return Fail(ErrorCode::kUnsupported, fmt::format("{}: not a regular file; expected one", name));
}

}  // namespace

Result<std::shared_ptr<const LocalFile>> LocalFile::Open(const std::string& path, std::string name,
                                                         Options options) {
  WEIGHTFS_TRY(SourceName source, SourceName::Resolve(path, name));
  struct stat attributes{};
  if (const int error_number = source.Stat(&attributes); error_number != 0)
    return OpenFailure(error_number, name);
  WEIGHTFS_CHECK(CheckIsRegular(attributes, name));
  Descriptor fd = source.Open();
  if (!fd.valid()) return OpenFailure(errno, name);
  if (fstat(fd.get(), &attributes) != 0) return OpenFailure(errno, name);
  WEIGHTFS_CHECK(CheckIsRegular(attributes, name));
  const FileIdentity identity = IdentityOf(attributes);
  if (options.descriptors == DescriptorPolicy::kPerRead)
    return std::make_shared<ReopenedFile>(std::move(name), std::move(source), identity);
  auto file = std::make_shared<HeldFile>(std::move(name), std::move(source), identity, std::move(fd),
                                         options.source_io);
  WEIGHTFS_CHECK(file->Prepare(attributes));
  return file;
}

}  // namespace weightfs
