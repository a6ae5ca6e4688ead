/// \file
/// What a machine offers a mount: the facts behind `weightfs doctor`.
#pragma once

#include <string>
#include <vector>

namespace weightfs::cli {

/// One line of `doctor`.
struct MachineCheck {
  std::string name;  ///< "fuse device"
  bool ok = true;
  bool required = false;  ///< Without it no mount is possible.
  std::string finding;    ///< What was found.
  std::string cost;       ///< What its lack costs; empty when ok.
  std::string remedy;     ///< What to do; empty when ok.
};

/// Looks at the machine. Changes nothing.
std::vector<MachineCheck> CheckMachine();

}  // namespace weightfs::cli
