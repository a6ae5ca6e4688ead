#include "cli/machine.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <hwy/targets.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string_view>

#include "fs/fuse_api.h"
#include "fs/session.h"

namespace weightfs::cli {
namespace {

constexpr rlim_t kDescriptorsWanted = 4096;
constexpr int kPagesWanted = 256;  // 1 MiB requests of 4 KiB pages.

MachineCheck CheckDevice() {
  MachineCheck check{.name = "fuse", .required = true, .finding = "/dev/fuse: this user can mount"};
  if (const Status fuse = CheckFuse(); !fuse) {
    check.ok = false;
    check.finding = fuse.error().message;
    check.cost = "no mount is possible; export still is";
    check.remedy = fuse.error().remedy;
  }
  return check;
}

std::string FindInPath(std::string_view name) {
  const char* const variable = std::getenv("PATH");
  std::string_view folders = variable != nullptr ? variable : "/usr/bin:/bin";
  while (!folders.empty()) {
    const std::string_view folder = folders.substr(0, folders.find(':'));
    const std::string path = fmt::format("{}/{}", folder, name);
    if (access(path.c_str(), X_OK) == 0) return path;
    folders.remove_prefix(std::min(folders.size(), folder.size() + 1));
  }
  return {};
}

MachineCheck CheckFusermount() {
  MachineCheck check{.name = "fusermount3"};
  const std::string path = FindInPath("fusermount3");
  struct stat attributes = {};
  const bool found = !path.empty() && stat(path.c_str(), &attributes) == 0;
  check.ok = found && (attributes.st_mode & S_ISUID) != 0 && attributes.st_uid == 0;
  check.finding = !found ? "not found" : check.ok ? path + ", setuid root" : path + ", not setuid root";
  if (check.ok) return check;
  check.cost = "users other than root cannot mount";
  check.remedy = found ? fmt::format("as root: chown root {0} && chmod u+s {0}", path) : "apt install fuse3";
  return check;
}

MachineCheck CheckAllowOther() {
  MachineCheck check{.name = "allow_other"};
  std::ifstream file("/etc/fuse.conf");
  check.ok = geteuid() == 0;
  check.finding = check.ok ? "root may always" : "user_allow_other is not in /etc/fuse.conf";
  for (std::string line; std::getline(file, line);) {
    if (line != "user_allow_other") continue;
    check.ok = true;
    check.finding = "user_allow_other is in /etc/fuse.conf";
  }
  if (check.ok) return check;
  check.cost = "--allow-other works for root alone";
  check.remedy = "as root: echo user_allow_other >> /etc/fuse.conf";
  return check;
}

MachineCheck CheckKernel() {
  MachineCheck check{.name = "kernel"};
  utsname name = {};
  uname(&name);
  char* dot = nullptr;
  const long major = std::strtol(name.release, &dot, 10);
  const long minor = *dot == '.' ? std::strtol(dot + 1, nullptr, 10) : 0;
  check.ok = major > 6 || (major == 6 && minor >= 5);
  check.finding = fmt::format("{}, {} cachestat", name.release, check.ok ? "with" : "without");
  if (check.ok) return check;
  check.cost = "what is cached of a source is found out more slowly (mincore)";
  check.remedy = "Linux 6.5 or newer";
  return check;
}

MachineCheck CheckReadAhead() {
  MachineCheck check{.name = "read-ahead"};
  check.ok = ReadAheadCanBeSet();
  check.finding =
      check.ok ? "may be raised (/sys/class/bdi)" : "may not be raised by this user (/sys/class/bdi)";
  if (check.ok) return check;
  check.cost = "sequential reads and first loads are two to three times slower";
  check.remedy = "mount as root, or let root write the value that mount names";
  return check;
}

MachineCheck CheckPages() {
  MachineCheck check{.name = "request size"};
  std::ifstream file("/proc/sys/fs/fuse/max_pages_limit");
  int pages = kPagesWanted;
  const bool known = static_cast<bool>(file >> pages);
  check.ok = pages >= kPagesWanted;
  check.finding = known ? fmt::format("fs.fuse.max_pages_limit is {}", pages) : "1 MiB (no limit is set)";
  if (check.ok) return check;
  check.cost = "more, smaller requests";
  check.remedy = fmt::format("as root: sysctl fs.fuse.max_pages_limit={}", kPagesWanted);
  return check;
}

MachineCheck CheckDirectIo() {
  MachineCheck check{.name = "direct I/O"};
  // A file system answers for its files only, and the program's own is a file at hand.
  const int self = open("/proc/self/exe", O_RDONLY | O_DIRECT | O_CLOEXEC);
  check.ok = self >= 0;
  check.finding =
      check.ok ? "possible on the file system of this program"
               : fmt::format("not possible on the file system of this program: {}", std::strerror(errno));
  if (self >= 0) close(self);
  if (check.ok) return check;
  check.cost =
      "sources on such a file system are read through the page cache: first loads take up to twice as long";
  check.remedy = "keep checkpoints on ext4, xfs or btrfs; 'weightfs status' shows how a source is read";
  return check;
}

MachineCheck CheckDescriptors() {
  MachineCheck check{.name = "open files"};
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  check.ok = limit.rlim_max == RLIM_INFINITY || limit.rlim_max >= kDescriptorsWanted;
  check.finding = limit.rlim_max == RLIM_INFINITY ? "no limit" : fmt::format("at most {}", limit.rlim_max);
  if (check.ok) return check;
  check.cost = "checkpoints of very many files cannot be opened";
  check.remedy = fmt::format("ulimit -Hn {}, or LimitNOFILE= in a systemd unit", kDescriptorsWanted);
  return check;
}

MachineCheck CheckLibfuse() {
  return {.name = "libfuse",
          .finding = fmt::format("{} (built with {}.{})", fuse_pkgversion(), FUSE_MAJOR_VERSION,
                                 FUSE_MINOR_VERSION)};
}

/// Highway names its targets; the best is in use.
MachineCheck CheckProcessor() {
  MachineCheck check{.name = "casts"};
  const int64_t targets = hwy::SupportedTargets();
  const int64_t best = targets & -targets;
  check.ok = best < HWY_SSSE3;
  check.finding = fmt::format("kernels for {}", hwy::TargetName(best));
  if (check.ok) return check;
  check.cost = "--dtype is slower";
  check.remedy = "a processor with AVX2 or NEON";
  return check;
}

}  // namespace

std::vector<MachineCheck> CheckMachine() {
  return {CheckDevice(), CheckFusermount(), CheckAllowOther(),  CheckReadAhead(), CheckKernel(),
          CheckPages(),  CheckDirectIo(),   CheckDescriptors(), CheckLibfuse(),   CheckProcessor()};
}

}  // namespace weightfs::cli
