/// \file
/// Tensor subclasses that have no data of their own, DTensor above all.
#pragma once

#include <string>

#include "convert/source/torch/node_access.h"

namespace weightfs {

/// What a wrapper subclass amounts to: the one plain tensor it equals, or why there is none.
struct WrapperSubclass {
  pickle::NodePtr local = nullptr;
  std::string unsupported_reason;  ///< Names the class; set when `local` is nullptr.
};

/// Looks at `_rebuild_from_type_v2(_rebuild_wrapper_subclass, class, arguments, state)`.
///
/// A DTensor equals its local tensor when it is replicated, or sharded over meshes of one rank: when no
/// placement is a partial sum and the local shape is the global one. All else holds one rank's part.
/// \param arguments  the four arguments; the third is a tuple
WrapperSubclass InspectWrapperSubclass(NodeItems arguments);

}  // namespace weightfs
