/// \file
/// Reading pickle nodes the way torch's readers need them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "convert/pickle/value.h"

namespace weightfs {

using pickle::NodeItems;
using pickle::NodePairs;

/// The items of a tuple, list or set; none for other nodes.
NodeItems Items(const pickle::Node& node);

/// The pairs of a mapping (`Node::IsMapping`); none for other nodes.
NodePairs MappingPairs(const pickle::Node& node);

/// The id of a kPersistent node.
const pickle::Node& PersistentId(const pickle::Node& persistent);

/// The value of an integer from 0 on, or nothing.
std::optional<uint64_t> UnsignedValue(const pickle::Node& node);

/// A value for messages: "-3", "'cpu'", or the type name of what is no number and no text. At most 80 bytes.
std::string DescribeValue(const pickle::Node& node);

/// A call that a node stands for.
struct NodeCall {
  std::string_view name;  ///< Dotted name of the function or class; empty when the node is no call.
  NodeItems arguments;
  pickle::NodePtr state = nullptr;  ///< Of BUILD, or nullptr.
};

/// The call behind a kObject. `copyreg.__newobj__(C, ...)`, `copyreg._reconstructor(C, ...)` and classes
/// given by a legacy ("module", C, ...) persistent id read as a call of C.
NodeCall CallOf(const pickle::Node& node);

/// The attribute `name` of a BUILD state: a dict, or (dict or None, dict of slots). nullptr when there is
/// none, and for a `state` that is nullptr.
pickle::NodePtr StateAttribute(pickle::NodePtr state, std::string_view name);

/// The Python type name of a node as `pickle::TypeName`, with the class behind such calls.
std::string ClassName(const pickle::Node& node);

}  // namespace weightfs
