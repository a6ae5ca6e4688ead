/// \file
/// Running a command as a shell would: its status, its signals.
#pragma once

#include <string>
#include <vector>

#include "convert/base/result.h"

namespace weightfs::cli {

/// Runs `words` (found in PATH) with `WEIGHTFS_MOUNT` set to `mountpoint` and waits for it. SIGTERM, SIGHUP
/// and SIGINT that somebody sends to us are passed on to it; what the terminal sends it gets from there.
/// Needs an InterruptGuard; a signal that came before ends nothing here. Its signal mask and limit of open
/// files are what they were when this program started.
/// \return its exit status, or 128 + N when signal N ended it
/// \error kIo  it cannot be started
Result<int> RunChild(const std::vector<std::string>& words, const std::string& mountpoint);

/// `word` with every `{}` replaced by `mountpoint`.
std::string ReplaceBraces(std::string word, const std::string& mountpoint);

}  // namespace weightfs::cli
