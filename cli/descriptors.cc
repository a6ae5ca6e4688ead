#include "cli/descriptors.h"

#include <sys/resource.h>

#include "convert/io/descriptor_limit.h"

namespace weightfs::cli {
namespace {
rlimit initial_limit = {};
bool initial_limit_known = false;
}  // namespace

void RaiseOwnDescriptorLimit() {
  initial_limit_known = getrlimit(RLIMIT_NOFILE, &initial_limit) == 0;
  RaiseDescriptorLimit();
}

void RestoreDescriptorLimit() {
  if (initial_limit_known) setrlimit(RLIMIT_NOFILE, &initial_limit);
}

}  // namespace weightfs::cli
