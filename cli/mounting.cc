#include "cli/mounting.h"

#include "cli/messages.h"

namespace weightfs::cli {

MountOptions MakeMountOptions(const Settings& settings, const std::string& mountpoint) {
  MountOptions options;
  options.mountpoint = mountpoint;
  options.source_io = settings.source_io;
  options.threads = settings.threads;
  options.readahead_bytes = settings.readahead_bytes;
  options.direct_io = settings.direct_io;
  options.allow_other = settings.allow_other;
  options.notice = [](const std::string& line) { PrintNote(line); };
  return options;
}

}  // namespace weightfs::cli
