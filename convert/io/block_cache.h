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

/// Bytes of one block; shared by the cache and the readers that hold it.
using BlockPtr = std::shared_ptr<const std::byte[]>;

/// Thread-safe. Least recently used blocks go first. Single flight: of several threads that miss the same block one
/// makes it and the others wait for it. No lock is held while a block is made. The bytes of all blocks, those
/// being made included, stay within `capacity_bytes`; a thread whose block does not fit waits until others are
/// released, except that one block at a time may exceed it (so that a small capacity is slow, not a dead end).
class BlockCache {
 public:
  /// Names one block: `owner` from `NewOwner`, `index` as the owner likes.
  struct Key {
    uint64_t owner = 0;
    uint64_t index = 0;
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct Stats {
    uint64_t hits = 0, misses = 0, evictions = 0, bytes = 0;
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
  /// \error whatever `make` returns, to every thread that waited; a failed block is not kept
  Result<BlockPtr> Get(Key key, uint64_t size_bytes, const std::function<Status(std::span<std::byte>)>& make);

  Stats stats() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weightfs
