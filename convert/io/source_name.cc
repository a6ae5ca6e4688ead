#include "convert/io/source_name.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <map>
#include <mutex>
#include <utility>

namespace weightfs {
namespace {

/// The open folders of this process, by device and inode: a held inode's number is not given to another
/// folder.
class FolderRegistry {
 public:
  std::shared_ptr<const Descriptor> Share(Descriptor folder, const struct stat& attributes) {
    const std::lock_guard lock(mutex_);
    std::weak_ptr<const Descriptor>& known = folders_[{attributes.st_dev, attributes.st_ino}];
    if (std::shared_ptr<const Descriptor> open = known.lock()) return open;
    auto shared = std::make_shared<const Descriptor>(std::move(folder));
    known = shared;
    std::erase_if(folders_, [](const auto& entry) { return entry.second.expired(); });
    return shared;
  }

 private:
  std::mutex mutex_;
  std::map<std::pair<dev_t, ino_t>, std::weak_ptr<const Descriptor>> folders_;
};

FolderRegistry& Folders() {
  static FolderRegistry registry;
  return registry;
}

}  // namespace

std::unexpected<Error> OpenFailure(int error_number, const std::string& name) {
  std::unexpected<Error> failure = FailIo(error_number, name + ": cannot be opened");
  if (error_number == EMFILE) {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    failure.error().message += fmt::format("; the limit is {} (`ulimit -n`)", limit.rlim_cur);
    failure.error().remedy = "raise the limit of open files, for example `ulimit -n 65536`";
  } else if (error_number == ENFILE) {
    failure.error().remedy = "raise the system's limit of open files, fs.file-max";
  }
  return failure;
}

SourceName::SourceName(std::shared_ptr<const Descriptor> folder, std::string resolved_path)
    : folder_(std::move(folder)),
      resolved_path_(std::move(resolved_path)),
      base_name_(resolved_path_.substr(resolved_path_.rfind('/') + 1)) {}

Result<SourceName> SourceName::Resolve(const std::string& path, const std::string& name) {
  char* resolved = ::realpath(path.c_str(), nullptr);
  if (resolved == nullptr) return OpenFailure(errno, name);
  std::string resolved_path = resolved;
  std::free(resolved);
  const std::string folder_path = resolved_path.substr(0, std::max<size_t>(resolved_path.rfind('/'), 1));
  Descriptor folder(::open(folder_path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid()) return OpenFailure(errno, name);
  struct stat attributes{};
  if (fstat(folder.get(), &attributes) != 0) return OpenFailure(errno, name);
  return SourceName(Folders().Share(std::move(folder), attributes), std::move(resolved_path));
}

Descriptor SourceName::Open(int flags) const {
  Descriptor fd(openat(folder_->get(), base_name_.c_str(),
                       O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | flags));
  // Reads may block: O_NONBLOCK was for the opening, and some network file systems would heed it.
  if (fd.valid()) fcntl(fd.get(), F_SETFL, flags);
  return fd;
}

int SourceName::Stat(struct stat* attributes) const {
  return fstatat(folder_->get(), base_name_.c_str(), attributes, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
}

}  // namespace weightfs
