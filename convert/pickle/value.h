/// \file
/// The value tree that a pickle stream describes. Nothing is ever called: what Python would call becomes a
/// node.
///
/// Follows docs/formats/pickle.md. Nodes lie packed in one block of memory and refer to each other by 32-bit
/// distances, so that a tree costs about twice the bytes of its stream.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>

namespace weightfs::pickle {

/// What a node is.
enum class Kind : uint8_t {
  kNone,
  kBool,
  kInt,     ///< Fits int64.
  kBigInt,  ///< Wider; `text` holds the shortest little-endian two's complement.
  kFloat,
  kString,  ///< Text, UTF-8; lone surrogates stay as their 3-byte form (`HasLoneSurrogate`).
  kBytes,   ///< bytes, bytearray, and Python 2 strings that are not UTF-8.
  kTuple,
  kList,
  kDict,        ///< Pairs in insertion order; of equal keys the last value wins and keeps the first place.
  kSet,         ///< set and frozenset.
  kGlobal,      ///< `module` + "." + `name`, never resolved.
  kPersistent,  ///< BINPERSID: `items()[0]` is the id.
  kObject,      ///< REDUCE, NEWOBJ or NEWOBJ_EX, with what BUILD, APPENDS and SETITEMS add.
};

class Node;
/// Nodes live as long as the `Tree` that made them. Shared and cyclic references are plain pointers.
using NodePtr = const Node*;

/// A reference from one node to another: the distance in 4-byte words from where the reference itself lies; 0
/// is null. Only meaningful in place, so never copied.
class NodeReference {
 public:
  NodeReference(const NodeReference&) = delete;
  NodeReference& operator=(const NodeReference&) = delete;
  NodePtr get() const {
    return distance_ == 0 ? nullptr
                          : reinterpret_cast<NodePtr>(reinterpret_cast<const int32_t*>(this) + distance_);
  }

 private:
  friend class NodeArena;
  NodeReference() = default;
  int32_t distance_ = 0;
};

/// A random-access view of `size()` values that lie in a tree; `Get(data, i)` makes the i-th. Cheap to copy.
template <typename Value, Value (*Get)(const NodeReference* data, size_t i)>
class NodeView {
 public:
  class iterator {
   public:
    using value_type = Value;
    using difference_type = ptrdiff_t;
    using iterator_concept = std::random_access_iterator_tag;
    using iterator_category = std::input_iterator_tag;  // `*it` is a value, not a reference.
    using pointer = void;
    using reference = Value;

    iterator() = default;
    iterator(const NodeReference* data, size_t i) : data_(data), i_(i) {}
    Value operator*() const { return Get(data_, i_); }
    Value operator[](difference_type n) const { return *(*this + n); }
    iterator& operator+=(difference_type n) { return i_ += static_cast<size_t>(n), *this; }
    iterator& operator-=(difference_type n) { return i_ -= static_cast<size_t>(n), *this; }
    iterator& operator++() { return *this += 1; }
    iterator& operator--() { return *this -= 1; }
    iterator operator++(int) { return iterator(data_, i_++); }
    iterator operator--(int) { return iterator(data_, i_--); }
    friend iterator operator+(iterator it, difference_type n) { return it += n; }
    friend iterator operator+(difference_type n, iterator it) { return it += n; }
    friend iterator operator-(iterator it, difference_type n) { return it -= n; }
    friend difference_type operator-(iterator a, iterator b) {
      return static_cast<difference_type>(a.i_) - static_cast<difference_type>(b.i_);
    }
    friend bool operator==(iterator a, iterator b) { return a.i_ == b.i_; }
    friend auto operator<=>(iterator a, iterator b) { return a.i_ <=> b.i_; }

   private:
    const NodeReference* data_ = nullptr;
    size_t i_ = 0;
  };

  NodeView() = default;
  NodeView(const NodeReference* data, size_t begin, size_t end) : data_(data), begin_(begin), end_(end) {}
  size_t size() const { return end_ - begin_; }
  bool empty() const { return begin_ == end_; }
  /// \pre i < size()
  Value operator[](size_t i) const { return Get(data_, begin_ + i); }
  Value front() const { return (*this)[0]; }
  Value back() const { return (*this)[size() - 1]; }
  /// The items from `first` on. \pre first <= size()
  NodeView subspan(size_t first) const { return NodeView(data_, begin_ + first, end_); }
  iterator begin() const { return iterator(data_, begin_); }
  iterator end() const { return iterator(data_, end_); }

 private:
  const NodeReference* data_ = nullptr;
  size_t begin_ = 0;
  size_t end_ = 0;
};

/// A key and its value.
struct NodePair {
  NodePtr key = nullptr;
  NodePtr value = nullptr;
};

inline NodePtr GetNode(const NodeReference* data, size_t i) { return data[i].get(); }
inline NodePair GetPair(const NodeReference* data, size_t i) {
  return {data[2 * i].get(), data[2 * i + 1].get()};
}

/// The items of a node: `NodePtr` values, never null.
using NodeItems = NodeView<NodePtr, GetNode>;
/// The pairs of a mapping: `for (const auto [key, value] : node.pairs())`.
using NodePairs = NodeView<NodePair, GetPair>;

/// One node, 8 bytes and more. Immutable once its tree is parsed, then safe to share between threads. Every
/// accessor may be asked of every kind and gives an empty value where the kind has no such part.
class Node {
 public:
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // In the header: asked of every node, of which there may be millions.
  Kind kind() const {
    if (tag_ == kObjectOfItems) return Kind::kObject;
    if (tag_ == kWideInt) return Kind::kInt;
    return static_cast<Kind>(tag_);
  }
  bool Is(Kind kind) const { return this->kind() == kind; }

  bool boolean() const;     ///< kBool.
  int64_t integer() const;  ///< kInt; 0 or 1 for kBool.
  double real() const;      ///< kFloat.
  /// kString, kBytes, kBigInt: the bytes. kGlobal: "module.name" after the Python 2 names are mapped.
  std::string_view text() const;
  /// kTuple, kList, kSet: the items. kPersistent: one. kObject: what APPEND(S) added (list subclasses,
  /// deque).
  NodeItems items() const;
  /// kDict: the pairs. kObject: what SETITEM(S) set, and what an OrderedDict, defaultdict, Counter or dict
  /// was constructed from (a list of pairs or a dict, as Python 2 wrote them).
  NodePairs pairs() const;

  // kObject only, else nullptr:
  NodePtr callable() const;   ///< kGlobal, mostly (else kObject or kPersistent): what REDUCE or NEWOBJ named.
  NodePtr arguments() const;  ///< kTuple; keyword arguments of NEWOBJ_EX are the last item, a dict.
  NodePtr state() const;      ///< The last BUILD state, or nullptr.

  /// Where the opcode that made the node begins, in bytes from the start of its pickle. None, booleans,
  /// integers from 0 to 255, the empty tuple and equal texts are one node each: for these, of the first such
  /// opcode.
  uint64_t offset_bytes() const { return offset_; }

  /// True for kObject whose callable is the global `dotted_name`.
  bool IsCall(std::string_view dotted_name) const;
  /// The dotted name of a kObject's callable when that is a global, or of a kGlobal; empty for the rest.
  std::string_view CallName() const;
  /// True for kDict, for a kObject with pairs, and for one whose callable is collections.OrderedDict,
  /// defaultdict or Counter.
  bool IsMapping() const;
  /// The value under the string key `key` of a mapping, or nullptr. Linear in the pairs.
  NodePtr Find(std::string_view key) const;

 private:
  friend class NodeArena;
  /// Variants of kinds (node_arena.h).
  static constexpr uint32_t kObjectOfItems = 14, kWideInt = 15;
  Node() = default;
  const NodeReference* references() const { return reinterpret_cast<const NodeReference*>(this + 1); }
  const NodeReference* contents() const;

  uint32_t offset_ = 0;
  uint32_t tag_ : 4 = 0;     // A Kind, or one of the two variants in node_arena.h.
  uint32_t count_ : 28 = 0;  // Bytes of text, items or pairs; the value of a small integer.
};
static_assert(sizeof(Node) == 8 && alignof(Node) == 4);

/// Owns the nodes of one pickle, in one allocation. Movable; immutable, so safe to share between threads.
/// Destruction frees that allocation: depth and cycles do no harm.
class Tree {
 public:
  Tree() = default;

  /// The value of the pickle; nullptr for a default-constructed tree only.
  NodePtr root() const { return root_; }
  /// Bytes of the stream up to and including STOP.
  uint64_t size_bytes() const { return size_bytes_; }
  /// Bytes of memory that the nodes take.
  uint64_t memory_bytes() const { return memory_bytes_; }

 private:
  friend class NodeArena;
  struct Free {
    void operator()(void* words) const { std::free(words); }
  };
  std::unique_ptr<uint32_t[], Free> words_;
  NodePtr root_ = nullptr;
  uint64_t size_bytes_ = 0;
  uint64_t memory_bytes_ = 0;
};

/// True when `text` (UTF-8 with surrogates passed) holds a lone surrogate, which JSON cannot carry.
bool HasLoneSurrogate(std::string_view text);

/// The Python type name of a node for messages: "dict", "int", "torch.nn.modules.linear.Linear", ...
std::string TypeName(const Node& node);

}  // namespace weightfs::pickle
