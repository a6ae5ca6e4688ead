#include "convert/pickle/node_arena.h"

#include <unistd.h>

#include <cstring>
#include <limits>

namespace weightfs::pickle {
namespace {

constexpr uint64_t kWordBytes = sizeof(uint32_t);
constexpr uint64_t kHeaderWords = sizeof(Node) / kWordBytes;
// References are signed distances of 32 bits.
constexpr uint64_t kArenaWordsMax = std::numeric_limits<int32_t>::max();
constexpr int64_t kInlineIntMin = -(1 << 27);
constexpr int64_t kInlineIntMax = (1 << 27) - 1;
constexpr uint64_t kFirstBlockGrowth = 4;

/// One for the process: there may be 100,000 small pickles.
const std::array<uint64_t, 2>& HashSeed() {
  static const std::array<uint64_t, 2> seed = [] {
    std::array<uint64_t, 2> random;
    if (::getentropy(random.data(), sizeof random) != 0)
      random = {reinterpret_cast<uintptr_t>(&random), static_cast<uint64_t>(::getpid()) * 31};
    random[1] |= 1;
    return random;
  }();
  return seed;
}

}  // namespace

NodeArena::NodeArena(MemoryBudget& budget) : budget_(budget), words_(budget), hash_seed_(HashSeed()) {}

NodeIndex NodeArena::New(uint32_t tag, uint64_t count, uint64_t payload_words, uint64_t offset_bytes) {
  if (words_.empty() && !words_.Push(0))
    return kNoNode;  // Word 0 is nobody's, so that index 0 can mean none.
  const uint64_t index = words_.size();
  const uint64_t words = kHeaderWords + payload_words;
  if (count > kCountMax || words > kArenaWordsMax - index || !words_.Extend(words)) return kNoNode;
  Node& node = Mutable(static_cast<NodeIndex>(index));
  node.offset_ = static_cast<uint32_t>(offset_bytes);
  node.tag_ = tag & 15;
  node.count_ = count & kCountMax;
  return static_cast<NodeIndex>(index);
}

NodeIndex NodeArena::None(uint64_t offset_bytes) {
  if (none_ == kNoNode) none_ = New(static_cast<uint32_t>(Kind::kNone), 0, 0, offset_bytes);
  return none_;
}

NodeIndex NodeArena::Bool(bool value, uint64_t offset_bytes) {
  NodeIndex& known = booleans_[value ? 1 : 0];
  if (known == kNoNode) known = New(static_cast<uint32_t>(Kind::kBool), value ? 1 : 0, 0, offset_bytes);
  return known;
}

NodeIndex NodeArena::Int(int64_t value, uint64_t offset_bytes) {
  constexpr auto kTag = static_cast<uint32_t>(Kind::kInt);
  if (value >= 0 && value < static_cast<int64_t>(small_integers_.size())) {
    NodeIndex& known = small_integers_[static_cast<size_t>(value)];
    if (known == kNoNode) known = New(kTag, static_cast<uint64_t>(value), 0, offset_bytes);
    return known;
  }
  if (value >= kInlineIntMin && value <= kInlineIntMax)
    return New(kTag, static_cast<uint64_t>(value) & kCountMax, 0, offset_bytes);
  const NodeIndex index = New(kWideInt, 0, sizeof value / kWordBytes, offset_bytes);
  if (index != kNoNode) std::memcpy(&words_[index + kHeaderWords], &value, sizeof value);
  return index;
}

NodeIndex NodeArena::Float(double value, uint64_t offset_bytes) {
  const NodeIndex index =
      New(static_cast<uint32_t>(Kind::kFloat), 0, sizeof value / kWordBytes, offset_bytes);
  if (index != kNoNode) std::memcpy(&words_[index + kHeaderWords], &value, sizeof value);
  return index;
}

NodeIndex NodeArena::NewText(Kind kind, std::initializer_list<std::string_view> parts,
                             uint64_t offset_bytes) {
  uint64_t size = 0;
  for (std::string_view part : parts) size += part.size();
  const uint64_t words = (size + kWordBytes - 1) / kWordBytes;
  const NodeIndex index = New(static_cast<uint32_t>(kind), size, words, offset_bytes);
  if (index == kNoNode) return kNoNode;
  auto* to = reinterpret_cast<char*>(&words_[index] + kHeaderWords);
  for (std::string_view part : parts) {
    if (!part.empty()) std::memcpy(to, part.data(), part.size());
    to += part.size();
  }
  return index;
}

NodeIndex NodeArena::Global(std::string_view module, std::string_view name, uint64_t offset_bytes) {
  return NewText(Kind::kGlobal, {module, ".", name}, offset_bytes);
}

NodeIndex NodeArena::Text(Kind kind, std::string_view text, uint64_t offset_bytes) {
  // At most three quarters full.
  if (4 * (text_count_ + 1) > 3 * text_table_.size() && !GrowTextTable()) return kNoNode;
  const size_t slot = FindTextSlot(kind, text);
  if (text_table_[slot] != kNoNode) return text_table_[slot];
  const NodeIndex index = NewText(kind, {text}, offset_bytes);
  if (index == kNoNode) return kNoNode;
  text_table_[slot] = index;
  ++text_count_;
  return index;
}

NodeIndex NodeArena::Tuple(std::span<const NodeIndex> items, uint64_t offset_bytes) {
  if (items.empty() && empty_tuple_ != kNoNode) return empty_tuple_;
  const NodeIndex index = New(static_cast<uint32_t>(Kind::kTuple), items.size(), items.size(), offset_bytes);
  if (index == kNoNode) return kNoNode;
  auto word = static_cast<NodeIndex>(index + kHeaderWords);
  for (NodeIndex item : items) SetReference(word++, item);
  if (items.empty()) empty_tuple_ = index;
  return index;
}

NodeIndex NodeArena::Container(Kind kind, uint64_t offset_bytes) {
  const NodeIndex index = New(static_cast<uint32_t>(kind), 0, 1, offset_bytes);
  if (index != kNoNode) words_[index + kHeaderWords] = 0;
  return index;
}

NodeIndex NodeArena::Persistent(NodeIndex id, uint64_t offset_bytes) {
  const NodeIndex index = New(static_cast<uint32_t>(Kind::kPersistent), 1, 1, offset_bytes);
  if (index != kNoNode) SetReference(static_cast<NodeIndex>(index + kHeaderWords), id);
  return index;
}

NodeIndex NodeArena::Object(NodeIndex callable, NodeIndex arguments, uint64_t offset_bytes) {
  const NodeIndex index = New(static_cast<uint32_t>(Kind::kObject), 0, kObjectBlock + 1, offset_bytes);
  if (index == kNoNode) return kNoNode;
  const auto word = static_cast<NodeIndex>(index + kHeaderWords);
  SetReference(word, callable);
  SetReference(word + 1, arguments);
  SetReference(word + 2, kNoNode);
  words_[word + kObjectBlock] = 0;
  return index;
}

void NodeArena::SetState(NodeIndex object, NodeIndex state) {
  SetReference(static_cast<NodeIndex>(object + kHeaderWords + 2), state);
}

NodeIndex NodeArena::BlockSlot(NodeIndex container) const {
  const uint64_t skip = At(container).Is(Kind::kObject) ? kObjectBlock : 0;
  return static_cast<NodeIndex>(container + kHeaderWords + skip);
}

uint32_t* NodeArena::GrowBlock(NodeIndex slot, uint64_t used, uint64_t needed) {
  const NodeIndex old_block = Target(slot);
  if (old_block != kNoNode && words_[old_block - 1] >= needed) return &words_[old_block];
  // The first block is exact: most containers are filled at once and never grow.
  const uint64_t capacity = old_block == kNoNode ? needed : std::max(needed + kFirstBlockGrowth, 2 * used);
  const uint64_t begin = words_.size() + 1;
  if (capacity + 1 > kArenaWordsMax - words_.size() || !words_.Extend(capacity + 1)) return nullptr;
  words_[begin - 1] = static_cast<uint32_t>(capacity);
  const auto block = static_cast<NodeIndex>(begin);
  for (uint32_t i = 0; i < used; ++i) SetReference(block + i, Target(old_block + i));
  SetReference(slot, block);
  return &words_[block];
}

bool NodeArena::AddReferences(NodeIndex container, std::span<const NodeIndex> targets, uint32_t per_item) {
  if (targets.empty()) return true;
  const uint64_t count = At(container).count_;
  const uint64_t added = targets.size() / per_item;
  if (added > kCountMax - count) return false;
  const uint64_t used = count * per_item;
  const NodeIndex slot = BlockSlot(container);
  if (GrowBlock(slot, used, used + targets.size()) == nullptr) return false;
  auto word = static_cast<NodeIndex>(Target(slot) + used);
  for (NodeIndex target : targets) SetReference(word++, target);
  Mutable(container).count_ = (count + added) & kCountMax;
  return true;
}

bool NodeArena::Append(NodeIndex container, std::span<const NodeIndex> items) {
  if (!items.empty() && At(container).Is(Kind::kObject)) Mutable(container).tag_ = kObjectOfItems;
  return AddReferences(container, items, 1);
}

bool NodeArena::AddPairs(NodeIndex mapping, std::span<const NodeIndex> keys_and_values) {
  return AddReferences(mapping, keys_and_values, 2);
}

uint32_t NodeArena::ChildCount(NodeIndex node) const {
  const Node& header = At(node);
  switch (header.kind()) {
    case Kind::kTuple:
    case Kind::kList:
    case Kind::kSet:
    case Kind::kPersistent:
      return header.count_;
    case Kind::kDict:
      return header.count_ * 2;
    case Kind::kObject:
      return kObjectBlock + header.count_ * (header.tag_ == kObjectOfItems ? 1 : 2);
    default:
      return 0;
  }
}

NodeIndex NodeArena::Child(NodeIndex node, uint32_t i) const {
  const auto payload = static_cast<NodeIndex>(node + kHeaderWords);
  switch (KindOf(node)) {
    case Kind::kTuple:
    case Kind::kPersistent:
      return Target(payload + i);
    case Kind::kObject:
      return i < kObjectBlock ? Target(payload + i)
                              : Target(Target(payload + kObjectBlock) + i - kObjectBlock);
    default:
      return Target(Target(payload) + i);
  }
}

Tree NodeArena::Finish(NodeIndex root, uint64_t size_bytes) {
  Tree tree;
  tree.size_bytes_ = size_bytes;
  tree.memory_bytes_ = words_.size() * kWordBytes;
  tree.words_.reset(words_.Detach());
  tree.root_ = reinterpret_cast<NodePtr>(&tree.words_[root]);
  return tree;
}

}  // namespace weightfs::pickle
