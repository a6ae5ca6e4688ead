#include "convert/io/block_cache.h"

#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <exception>
#include <list>
#include <new>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "convert/base/bytes.h"
#include "convert/base/mutex.h"

namespace weightfs {
namespace {

/// How many blocks this thread is making, one within the other.
thread_local int making_depth = 0;

/// More than any address space has; keeps sums of sizes from overflowing.
constexpr uint64_t kBlockBytesMax = uint64_t{1} << 47;

struct KeyHash {
  size_t operator()(const BlockCache::Key& key) const {
    return static_cast<size_t>((key.owner * 0x9e3779b97f4a7c15u) ^ (key.index * 0xc2b2ae3d27d4eb4fu));
  }
};

/// Large blocks lie in huge pages where the kernel gives them: a transpose writes to all rows of a block in
/// turn, and small pages would cost a fault each and displace one another in the processor's table of them.
constexpr uint64_t kHugePageBytes = 2_MiB;
constexpr uint64_t kHugeBlockBytesMin = 2 * kHugePageBytes;

BlockPtr Allocate(uint64_t size_bytes, std::byte** writable) {
  const bool is_huge = size_bytes >= kHugeBlockBytesMin;
  const std::align_val_t alignment{is_huge ? kHugePageBytes : kBlockAlignmentBytes};
  auto* bytes = static_cast<std::byte*>(::operator new(size_bytes, alignment));
  // Whole pages only: the block takes no more memory than it counts for. A kernel without them says no.
  if (is_huge) madvise(bytes, AlignDown(size_bytes, kHugePageBytes), MADV_HUGEPAGE);
  *writable = bytes;
  return BlockPtr(bytes, [alignment](const std::byte* block) {
    ::operator delete(const_cast<std::byte*>(block), alignment);
  });
}

/// Runs `make`; what foreign code throws becomes an error, for others wait for the outcome.
Status RunMaker(const std::function<Status(std::span<std::byte>)>& make, std::span<std::byte> destination) {
  struct Depth {
    Depth() { ++making_depth; }
    ~Depth() { --making_depth; }
  } depth;
  try {
    return make(destination);
  } catch (const std::bad_alloc&) {
    return FailIo(ENOMEM, "a cached block cannot be made");
  } catch (const std::exception& error) {
    return Fail(ErrorCode::kInternal, std::string("a cached block cannot be made: ") + error.what());
  }
}

}  // namespace

/// A block is being made (`flight` set), held (`holds` > 0), or idle (in `idle_`, and so open to eviction).
/// Readers do not get `bytes` itself but a lease over it, whose end is noticed.
struct BlockCache::Impl : std::enable_shared_from_this<BlockCache::Impl> {
  /// The outcome of making a block, for those who wait. Guarded by `mutex_` until `done`, then constant.
  struct Flight {
    CondVar landed;
    bool done = false;
    Result<BlockPtr> outcome;
  };
  /// All members are guarded by `mutex_`.
  struct Entry {
    Key key;
    uint64_t size_bytes = 0;
    BlockPtr bytes;
    std::shared_ptr<Flight> flight;
    uint64_t holds = 0;
    std::weak_ptr<const std::byte[]> lease;
    bool exceeds = false;  ///< This block went beyond the capacity with the leave of `exceeding_thread_`.
    bool idle = false;
    std::list<std::shared_ptr<Entry>>::iterator idle_position;  ///< Valid while `idle`.
  };
  /// Evicted blocks; declared before the lock is taken, so that memory is given back after it is released.
  using Victims = std::vector<BlockPtr>;

  explicit Impl(uint64_t capacity) : capacity_bytes(capacity) {}

  Result<BlockPtr> Get(Key key, uint64_t size_bytes, const std::function<Status(std::span<std::byte>)>& make)
      WEIGHTFS_EXCLUDES(mutex_);
  Result<BlockPtr> Make(const std::shared_ptr<Entry>& entry,
                        const std::function<Status(std::span<std::byte>)>& make) WEIGHTFS_EXCLUDES(mutex_);
  BlockPtr Lease(const std::shared_ptr<Entry>& entry) WEIGHTFS_REQUIRES(mutex_);
  void LetGo(const std::shared_ptr<Entry>& entry) WEIGHTFS_EXCLUDES(mutex_);
  bool TakeRoom(Entry& entry, Victims& victims) WEIGHTFS_REQUIRES(mutex_);
  void EvictDownTo(uint64_t bytes_max, Victims& victims) WEIGHTFS_REQUIRES(mutex_);
  void GiveBackLeaveToExceed(Entry& entry) WEIGHTFS_REQUIRES(mutex_);

  const uint64_t capacity_bytes;
  std::atomic<uint64_t> owners{0};
  Mutex mutex_;
  CondVar room_;
  std::unordered_map<Key, std::shared_ptr<Entry>, KeyHash> entries_ WEIGHTFS_GUARDED_BY(mutex_);
  std::list<std::shared_ptr<Entry>> idle_ WEIGHTFS_GUARDED_BY(mutex_);  ///< Least recently used first.
  uint64_t exceeding_blocks_ WEIGHTFS_GUARDED_BY(mutex_) = 0;
  std::thread::id exceeding_thread_ WEIGHTFS_GUARDED_BY(mutex_);
  Stats stats_ WEIGHTFS_GUARDED_BY(mutex_);
};

Result<BlockPtr> BlockCache::Impl::Get(Key key, uint64_t size_bytes,
                                       const std::function<Status(std::span<std::byte>)>& make) {
  if (size_bytes > kBlockBytesMax) return FailIo(ENOMEM, "a cached block cannot be made");
  Victims victims;
  std::shared_ptr<Flight> flight;
  auto entry = std::make_shared<Entry>(Entry{.key = key, .size_bytes = size_bytes});
  {
    const MutexLock lock(mutex_);
    while (true) {
      if (const auto found = entries_.find(key); found != entries_.end()) {
        ++stats_.hits;
        if (found->second->flight == nullptr) return Lease(found->second);
        flight = found->second->flight;
        while (!flight->done) flight->landed.Wait(mutex_);
        break;
      }
      if (TakeRoom(*entry, victims)) {
        ++stats_.misses;
        entry->flight = std::make_shared<Flight>();
        entries_.emplace(key, entry);
        break;
      }
      room_.Wait(mutex_);
    }
  }
  if (flight != nullptr) return flight->outcome;
  victims.clear();
  return Make(entry, make);
}

Result<BlockPtr> BlockCache::Impl::Make(const std::shared_ptr<Entry>& entry,
                                        const std::function<Status(std::span<std::byte>)>& make) {
  BlockPtr bytes;
  Status made;
  try {
    std::byte* writable = nullptr;
    bytes = Allocate(entry->size_bytes, &writable);
    made = RunMaker(make, {writable, entry->size_bytes});
  } catch (const std::bad_alloc&) {
    made = FailIo(ENOMEM, "a cached block cannot be made");
  }
  std::shared_ptr<Flight> flight;  // outlives the lock: its outcome may be the last holder of the block
  const MutexLock lock(mutex_);
  flight = std::move(entry->flight);
  entry->flight = nullptr;
  if (made) {
    entry->bytes = std::move(bytes);
    flight->outcome = Lease(entry);
  } else {
    flight->outcome = std::unexpected(std::move(made).error());
    entries_.erase(entry->key);
    stats_.bytes -= entry->size_bytes;
    GiveBackLeaveToExceed(*entry);
    room_.NotifyAll();
  }
  flight->done = true;
  flight->landed.NotifyAll();
  return flight->outcome;
}

BlockPtr BlockCache::Impl::Lease(const std::shared_ptr<Entry>& entry) {
  if (BlockPtr held = entry->lease.lock()) return held;
  if (std::exchange(entry->idle, false)) idle_.erase(entry->idle_position);
  ++entry->holds;
  BlockPtr lease(entry->bytes.get(),
                 [impl = shared_from_this(), entry](const std::byte*) { impl->LetGo(entry); });
  entry->lease = lease;
  return lease;
}

void BlockCache::Impl::LetGo(const std::shared_ptr<Entry>& entry) {
  Victims victims;
  const MutexLock lock(mutex_);
  if (--entry->holds > 0) return;
  entry->lease.reset();  // the lease's control block owns the entry: without this they would keep each other
  entry->idle = true;
  entry->idle_position = idle_.insert(idle_.end(), entry);
  GiveBackLeaveToExceed(*entry);
  EvictDownTo(capacity_bytes, victims);
  room_.NotifyAll();
}

bool BlockCache::Impl::TakeRoom(Entry& entry, Victims& victims) {
  const bool fits_alone = entry.size_bytes <= capacity_bytes;
  EvictDownTo(fits_alone ? capacity_bytes - entry.size_bytes : 0, victims);
  const bool fits = fits_alone && stats_.bytes <= capacity_bytes - entry.size_bytes;
  if (!fits) {
    const std::thread::id self = std::this_thread::get_id();
    if (exceeding_blocks_ == 0 || exceeding_thread_ == self) {
      exceeding_thread_ = self;
      ++exceeding_blocks_;
      entry.exceeds = true;
    } else if (making_depth == 0) {
      return false;
    }
  }
  stats_.bytes += entry.size_bytes;
  return true;
}

void BlockCache::Impl::EvictDownTo(uint64_t bytes_max, Victims& victims) {
  while (stats_.bytes > bytes_max && !idle_.empty()) {
    const std::shared_ptr<Entry> entry = std::move(idle_.front());
    idle_.pop_front();
    stats_.bytes -= entry->size_bytes;
    ++stats_.evictions;
    victims.push_back(std::move(entry->bytes));
    entries_.erase(entry->key);
  }
}

void BlockCache::Impl::GiveBackLeaveToExceed(Entry& entry) {
  if (entry.exceeds) --exceeding_blocks_;
  entry.exceeds = false;
}

BlockCache::BlockCache(uint64_t capacity_bytes) : impl_(std::make_shared<Impl>(capacity_bytes)) {}
BlockCache::~BlockCache() = default;

uint64_t BlockCache::capacity_bytes() const { return impl_->capacity_bytes; }
uint64_t BlockCache::NewOwner() { return impl_->owners.fetch_add(1, std::memory_order_relaxed); }

Result<BlockPtr> BlockCache::Get(Key key, uint64_t size_bytes,
                                 const std::function<Status(std::span<std::byte>)>& make) {
  return impl_->Get(key, size_bytes, make);
}

BlockCache::Stats BlockCache::stats() const {
  const MutexLock lock(impl_->mutex_);
  return impl_->stats_;
}

}  // namespace weightfs
