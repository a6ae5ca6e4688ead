// Parses arbitrary bytes as a pickle, from memory and from a file, which must agree. A tree that comes out
// must hold to its promises: every reference is sound, nothing nests too deep, and it takes no more memory
// than allowed.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "convert/pickle/unpickler.h"

namespace {

using namespace weightfs;
using namespace weightfs::pickle;

void Require(bool condition) {
  if (!condition) std::abort();
}

Limits FuzzLimits() {
  Limits limits;
  limits.parse_memory_base_bytes = 1_MiB;
  limits.pickle_memo_entries_max = 10'000;
  limits.nesting_depth_max = 100;
  return limits;
}

/// Asks every accessor of every node that can be reached; returns how many there are.
size_t Walk(NodePtr root) {
  std::unordered_set<NodePtr> seen = {root};
  std::vector<NodePtr> rest = {root};
  const auto visit = [&](NodePtr node) {
    Require(node != nullptr);
    if (seen.insert(node).second) rest.push_back(node);
  };
  while (!rest.empty()) {
    const Node& node = *rest.back();
    rest.pop_back();
    Require(!TypeName(node).empty() && TypeName(node).find('\n') == std::string::npos);
    Require(node.Is(Kind::kInt) || node.Is(Kind::kBool) || node.integer() == 0);
    // Reads every byte: a text that reaches past its storage is the sanitizer's to find.
    Require(std::ranges::count(node.text(), '\0') <= std::ssize(node.text()));
    if (node.Is(Kind::kString)) static_cast<void>(HasLoneSurrogate(node.text()));
    Require(node.Find("a") == nullptr || node.IsMapping());
    Require(node.pairs().empty() || node.IsMapping());
    for (NodePtr item : node.items()) visit(item);
    for (const auto [key, value] : node.pairs()) visit(key), visit(value);
    if (node.Is(Kind::kPersistent)) Require(node.items().size() == 1);
    if (!node.Is(Kind::kObject)) continue;
    visit(node.callable());
    visit(node.arguments());
    Require(node.arguments()->Is(Kind::kTuple));
    if (node.state() != nullptr) visit(node.state());
  }
  return seen.size();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Limits limits = FuzzLimits();
  const auto tree = Parse(std::as_bytes(std::span(data, size)), "input", limits);
  const FilePtr file = MakeMemoryFile("x" + std::string(bytes), "file");
  const auto from_file = Parse(*file, 1, "input", limits);
  if (!tree) {
    Require(tree.error().message.starts_with("input: offset "));
    Require(tree.error().message.find('\n') == std::string::npos);
    // A file has the larger budget, so only memory may end one and not the other.
    Require(!from_file || tree.error().code == ErrorCode::kLimitExceeded);
    return 0;
  }
  Require(from_file.has_value());
  Require(tree->size_bytes() <= size && tree->size_bytes() == from_file->size_bytes());
  Require(tree->memory_bytes() <= limits.parse_memory_base_bytes + 2 * size);
  Require(Walk(tree->root()) == Walk(from_file->root()));
  return 0;
}
