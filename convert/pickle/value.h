/// \file
/// The value tree that a pickle stream describes. Nothing is ever called: what Python would call becomes a node.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weightfs::pickle {

/// What a node is.
enum class Kind : uint8_t {
  kNone,
  kBool,
  kInt,        ///< Fits int64.
  kBigInt,     ///< Wider; `bytes` holds the little-endian two's complement.
  kFloat,
  kString,     ///< Text, UTF-8; lone surrogates stay as their 3-byte form (`HasLoneSurrogate`).
  kBytes,      ///< bytes, bytearray, and Python 2 strings that are not ASCII.
  kTuple,
  kList,
  kDict,       ///< Pairs in insertion order; of equal keys the last value wins and keeps the first place.
  kSet,        ///< set and frozenset.
  kGlobal,     ///< `module` + "." + `name`, never resolved.
  kPersistent, ///< BINPERSID or PERSID: `items[0]` is the id.
  kObject,     ///< REDUCE, NEWOBJ, NEWOBJ_EX or BUILD: see `Node`.
};

struct Node;
/// Nodes live as long as the `Tree` that made them. Shared and cyclic references are plain pointers.
using NodePtr = const Node*;

/// One node. Which members are used depends on `kind`.
struct Node {
  Kind kind = Kind::kNone;
  bool boolean = false;
  int64_t integer = 0;
  double real = 0;
  /// kString, kBytes, kBigInt: the bytes. kGlobal: "module.name" after the Python 2 names are mapped.
  std::string text;
  /// kTuple, kList, kSet: the items. kPersistent: one. kObject: nothing.
  std::vector<Node*> items;
  /// kDict: pairs. kObject whose class is a mapping (OrderedDict, defaultdict, Counter): the pairs set on it.
  std::vector<std::pair<Node*, Node*>> pairs;

  // kObject only:
  Node* callable = nullptr;   ///< kGlobal, mostly: what REDUCE or NEWOBJ named.
  Node* arguments = nullptr;  ///< kTuple; keyword arguments of NEWOBJ_EX are the last item, a dict.
  Node* state = nullptr;      ///< The last BUILD state, or nullptr. BUILD on a dict or list sets this too.

  /// Where the opcode that made the node begins in its stream.
  uint64_t offset_bytes = 0;

  bool Is(Kind k) const { return kind == k; }
  /// True for kObject whose callable is the global `dotted_name`.
  bool IsCall(std::string_view dotted_name) const;
  /// The dotted name of a kObject's callable or of a kGlobal; empty for the rest.
  std::string_view CallName() const;
  /// True for kDict, and for a kObject whose class is collections.OrderedDict, defaultdict or Counter.
  bool IsMapping() const;
  /// The value under the string key `key` of a mapping, or nullptr.
  NodePtr Find(std::string_view key) const;
};

/// Owns the nodes of one stream. Movable; immutable once parsed, then safe to share between threads. Destruction
/// is iterative, so depth and cycles do no harm.
class Tree {
 public:
  Tree() = default;
  Tree(Tree&&) = default;
  Tree& operator=(Tree&&) = default;

  NodePtr root() const { return root_; }
  /// Bytes of the stream up to and including STOP.
  uint64_t size_bytes() const { return size_bytes_; }
  /// Adds a node; for the unpickler.
  Node* New(Kind kind, uint64_t offset_bytes);
  void Finish(NodePtr root, uint64_t size_bytes) { root_ = root, size_bytes_ = size_bytes; }

 private:
  std::deque<Node> nodes_;
  NodePtr root_ = nullptr;
  uint64_t size_bytes_ = 0;
};

/// True when `text` (UTF-8 with surrogates passed) holds a lone surrogate, which JSON cannot carry.
bool HasLoneSurrogate(std::string_view text);

/// The Python type name of a node for messages: "dict", "int", "torch.nn.modules.linear.Linear", ...
std::string TypeName(const Node& node);

}  // namespace weightfs::pickle
