/// \file
/// A byte-bounded cache of blocks that are costly to make: inflated members, lz4 blocks, strided panels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "convert/base/result.h"

namespace weightfs {

/// Bytes of one block, aligned to `kBlockAlignmentBytes`. The block stays in memory, and counts, while it is
/// held: let go of it soon.
using BlockPtr = std::shared_ptr<const std::byte[]>;

/// Alignment of every block, in bytes: a cache line.
inline constexpr size_t kBlockAlignmentBytes = 64;

/// Thread-safe. Least recently used blocks go first. Single flight: of several threads that miss the same
/// block one makes it and the others wait for it. No lock is held while a block is made.
///
/// The bytes of all blocks, those being made and those held by readers included, stay within
/// `capacity_bytes`: a thread whose block does not fit waits until others let go of theirs. Two exceptions,
/// so that a small capacity is slow and never a dead end: one thread at a time may go beyond the capacity
/// (until the blocks with which it did are let go of), and a thread that is making a block never waits for
/// room for the ones it needs to make it. What is beyond the capacity is dropped as soon as nobody holds it.
/// Blocks outlive the cache while they are held.
class BlockCache {
 public:
  /// Names one block: `owner` from `NewOwner`, `index` as the owner likes.
  struct Key {
    uint64_t owner = 0;
    uint64_t index = 0;
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct Stats {
    uint64_t hits = 0;    ///< Blocks that were there, or that another thread was making.
    uint64_t misses = 0;  ///< Blocks that were made, failures included.
    uint64_t evictions = 0;
    uint64_t bytes = 0;  ///< Of all blocks now, those being made included.
  };

  explicit BlockCache(uint64_t capacity_bytes);
  ~BlockCache();
  BlockCache(const BlockCache&) = delete;
  BlockCache& operator=(const BlockCache&) = delete;

  uint64_t capacity_bytes() const;
  /// A number that no other owner of this cache has.
  uint64_t NewOwner();

  /// The block `key` of `size_bytes` bytes, made by `make(destination)` when it is not there.
  /// `make` must not call into this cache unless for a different owner that never calls back.
  /// \param size_bytes  the same for every call with this key
  /// \error whatever `make` returns, to every thread that waited; a failed block is not kept
  /// \error kIo ENOMEM  no memory for the block
  Result<BlockPtr> Get(Key key, uint64_t size_bytes, const std::function<Status(std::span<std::byte>)>& make);

  Stats stats() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // shared with the blocks that readers hold
};

}  // namespace weightfs
