// Which texts and which dict keys are equal.

#include <bit>
#include <cmath>
#include <cstring>

#include "convert/pickle/node_arena.h"

namespace weightfs::pickle {
namespace {

// Mappings up to this size are searched pair by pair.
constexpr size_t kLinearPairs = 8;
constexpr size_t kFirstTextSlots = 64;

/// Both halves of the product folded together: every bit of the result depends on every bit of both.
uint64_t Mix(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

/// The integer that a bool, an int or a whole float is equal to, as Python compares them.
std::optional<int64_t> WholeNumber(const Node& node) {
  if (node.Is(Kind::kInt) || node.Is(Kind::kBool)) return node.integer();
  if (!node.Is(Kind::kFloat)) return std::nullopt;
  const double value = node.real();
  if (!(value >= -0x1p63 && value < 0x1p63) || std::floor(value) != value) return std::nullopt;
  return static_cast<int64_t>(value);
}

}  // namespace

uint64_t NodeArena::HashText(Kind kind, std::string_view text) const {
  uint64_t hash = hash_seed_[0] ^ (text.size() << 4 | static_cast<uint64_t>(kind));
  for (size_t i = 0; i < text.size(); i += sizeof(uint64_t)) {
    uint64_t block = 0;
    std::memcpy(&block, text.data() + i, std::min(sizeof block, text.size() - i));
    hash = Mix(hash ^ block, hash_seed_[1]);
  }
  return Mix(hash, hash_seed_[1]);
}

size_t NodeArena::FindTextSlot(Kind kind, std::string_view text) const {
  const size_t mask = text_table_.size() - 1;
  size_t slot = HashText(kind, text) & mask;
  for (; text_table_[slot] != kNoNode; slot = (slot + 1) & mask) {
    const Node& known = At(text_table_[slot]);
    if (known.kind() == kind && known.text() == text) break;
  }
  return slot;
}

bool NodeArena::GrowTextTable() {
  const size_t slots = text_table_.empty() ? kFirstTextSlots : text_table_.size() * 2;
  if (!budget_.Charge(slots * sizeof(NodeIndex))) return false;
  std::vector<NodeIndex> old(slots, kNoNode);
  old.swap(text_table_);
  for (NodeIndex index : old)
    if (index != kNoNode) text_table_[FindTextSlot(KindOf(index), At(index).text())] = index;
  budget_.Release(old.size() * sizeof(NodeIndex));
  return true;
}

uint64_t NodeArena::HashKey(NodeIndex key) const {
  const Node& node = At(key);
  uint64_t value = uint64_t{key} << 1 | 1;
  if (const std::optional<int64_t> whole = WholeNumber(node))
    value = static_cast<uint64_t>(*whole) << 1;
  else if (node.Is(Kind::kFloat))
    value = std::bit_cast<uint64_t>(node.real());
  return Mix(value ^ hash_seed_[0], hash_seed_[1]);
}

bool NodeArena::EqualKeys(NodeIndex left, NodeIndex right) const {
  if (left == right) return true;  // Equal texts are one node.
  const Node& a = At(left);
  const Node& b = At(right);
  const std::optional<int64_t> whole = WholeNumber(a);
  if (whole) return whole == WholeNumber(b);
  return a.Is(Kind::kFloat) && b.Is(Kind::kFloat) && a.real() == b.real();
}

bool NodeArena::MergeEqualKeys(NodeIndex mapping) {
  const uint32_t count = At(mapping).count_;
  if (At(mapping).pairs().size() < 2) return true;
  const size_t slots = count <= kLinearPairs ? 0 : std::bit_ceil(size_t{count} * 2);
  if (!budget_.Charge(slots * sizeof(uint32_t))) return false;
  std::vector<uint32_t> table(slots, 0);  // Number of a kept pair, from 1.
  const NodeIndex block = Target(BlockSlot(mapping));
  uint32_t kept = 0;
  const auto find = [&](NodeIndex key) -> uint32_t {
    if (slots == 0) {
      uint32_t i = 0;
      while (i < kept && !EqualKeys(Target(block + 2 * i), key)) ++i;
      return i;
    }
    size_t slot = HashKey(key) & (slots - 1);
    while (table[slot] != 0 && !EqualKeys(Target(block + 2 * (table[slot] - 1)), key))
      slot = (slot + 1) & (slots - 1);
    if (table[slot] == 0) table[slot] = kept + 1;
    return table[slot] - 1;
  };
  for (uint32_t i = 0; i < count; ++i) {
    const NodeIndex key = Target(block + 2 * i);
    const NodeIndex value = Target(block + 2 * i + 1);
    const uint32_t place = find(key);
    if (place == kept) SetReference(block + 2 * kept++, key);
    SetReference(block + 2 * place + 1, value);
  }
  Mutable(mapping).count_ = kept & kCountMax;
  budget_.Release(slots * sizeof(uint32_t));
  return true;
}

}  // namespace weightfs::pickle
