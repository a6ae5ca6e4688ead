/// \file
/// The limit of open files: raised for us, as it was for the command of `run`.
#pragma once

namespace weightfs::cli {

/// Raises the soft limit to the hard one and remembers what it was. Once, at program start.
void RaiseOwnDescriptorLimit();
/// Puts back the limit that was there at program start. Async-signal-safe: for a child between fork and exec.
void RestoreDescriptorLimit();

}  // namespace weightfs::cli
