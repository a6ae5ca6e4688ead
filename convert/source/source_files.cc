#include "convert/source/source_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "convert/io/lz4_file.h"

namespace weightfs {
namespace {

namespace fs = std::filesystem;

constexpr size_t kFolderEntriesMax = 1'000'000;

/// `path` is `root` or lies below it; both absolute and resolved.
bool IsWithin(std::string_view path, std::string_view root) {
  if (root == "/") return true;
  return path.starts_with(root) && (path.size() == root.size() || path[root.size()] == '/');
}

std::unexpected<Error> FailPath(const std::error_code& error, std::string_view name) {
  if (error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory)
    return Fail(ErrorCode::kNotFound,
                fmt::format("{}: it, or what it links to, does not exist; expected a file or a "
                            "folder",
                            name));
  return FailIo(error.value(), name);
}

/// The absolute path with all links resolved.
Result<std::string> RealPath(const std::string& path, std::string_view name) {
  std::error_code error;
  const fs::path resolved = fs::canonical(path, error);
  if (error) return FailPath(error, name);
  return resolved.string();
}

Result<struct stat> Stat(const std::string& path, std::string_view name) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) == 0) return status;
  return FailPath(std::error_code(errno, std::generic_category()), name);
}

/// The blob store of a Hugging Face cache when `root` is `REPO/snapshots/REVISION` of one or lies in it, else
/// empty.
std::string BlobStore(const std::string& root) {
  for (fs::path folder = root; folder.has_relative_path(); folder = folder.parent_path()) {
    const fs::path snapshots = folder.parent_path();
    if (snapshots.filename() != "snapshots") continue;
    std::error_code error;
    fs::path blobs = snapshots.parent_path() / "blobs";
    // A `blobs` that is itself a link elsewhere is no part of this cache.
    if (fs::symlink_status(blobs, error).type() == fs::file_type::directory) return blobs.string();
  }
  return {};
}

/// The folder `resolved` is, or is in.
std::string FolderOf(const std::string& resolved) {
  std::error_code ignored;
  return fs::is_directory(resolved, ignored) ? resolved : fs::path(resolved).parent_path().string();
}

/// Relative paths come from folder listings and from indexes: no component may lead out.
bool IsPlainRelative(std::string_view path) {
  if (path.empty()) return true;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t slash = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, slash - begin);
    if (part.empty() || part == "." || part == ".." || part.contains('\0')) return false;
    begin = slash + 1;
  }
  return true;
}

std::string Join(std::string_view folder, std::string_view name) {
  if (folder.empty()) return std::string(name);
  if (name.empty()) return std::string(folder);
  return fmt::format("{}{}{}", folder, folder.ends_with('/') ? "" : "/", name);
}

/// Why an entry of a folder that cannot be used is not; `status` is what it is after links.
std::optional<std::string> WhyUnusable(const struct stat& status, std::string_view name) {
  if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)) return std::nullopt;
  return fmt::format("{}: neither a file nor a folder; expected one of these", name);
}

SourceEntry MakeEntry(std::string name, const struct stat& status) {
  return {.name = std::move(name),
          .is_directory = S_ISDIR(status.st_mode),
          .size_bytes = static_cast<uint64_t>(status.st_size),
          .mtime_nanoseconds = status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec};
}

}  // namespace

Result<std::shared_ptr<SourceFiles>> SourceFiles::Create(const std::string& path, Options options) {
  if (path.empty()) return Fail(ErrorCode::kNotFound, "SOURCE: an empty path; expected a file or a folder");
  std::shared_ptr<SourceFiles> files(new SourceFiles);
  files->name_ = path.substr(0, std::max<size_t>(path.find_last_not_of('/') + 1, 1));
  WEIGHTFS_TRY(files->root_, RealPath(path, path));
  WEIGHTFS_TRY(const struct stat status, Stat(files->root_, path));
  files->is_directory_ = S_ISDIR(status.st_mode);
  if (!files->is_directory_ && !S_ISREG(status.st_mode))
    return Fail(
        ErrorCode::kUnsupported,
        fmt::format("{}: neither a file nor a folder; expected a checkpoint file or a folder of them", path));
  if (std::string blobs = BlobStore(files->root_); !blobs.empty())
    files->allowed_roots_.push_back(std::move(blobs));
  for (const std::string& folder : options.allowed_link_dirs) {
    WEIGHTFS_TRY(std::string allowed, RealPath(folder, fmt::format("--allow-links {}", folder)));
    files->allowed_roots_.push_back(std::move(allowed));
  }
  files->options_ = std::move(options);
  return files;
}

Result<std::string> SourceFiles::Resolve(const std::string& path) const {
  const std::string shown = Join(name_, path);
  if (!IsPlainRelative(path) || (!is_directory_ && !path.empty()))
    return Fail(ErrorCode::kUnsupported,
                fmt::format("{}: leads out of the source; expected a path inside it", shown));
  WEIGHTFS_TRY(std::string resolved, RealPath(Join(root_, path), shown));
  const auto allows = [&](const std::string& root) { return IsWithin(resolved, root); };
  if (allows(root_) || std::any_of(allowed_roots_.begin(), allowed_roots_.end(), allows)) return resolved;
  return Fail(
      ErrorCode::kUnsupported,
      fmt::format("{}: a link to {}; expected one inside the source or below a folder of --allow-links",
                  shown, resolved),
      fmt::format("allow it with --allow-links {}", FolderOf(resolved)));
}

Result<std::vector<SourceEntry>> SourceFiles::List(const std::string& folder) {
  WEIGHTFS_TRY(const std::string resolved, Resolve(folder));
  std::error_code error;
  fs::directory_iterator iterator(resolved, error);
  if (error) return FailPath(error, Join(name_, folder));
  std::vector<SourceEntry> entries;
  for (; iterator != fs::directory_iterator(); iterator.increment(error)) {
    std::string name = iterator->path().filename().string();
    const auto& skipped = options_.skipped_folders;
    if (folder.empty() && std::find(skipped.begin(), skipped.end(), name) != skipped.end()) continue;
    const std::string path = Join(folder, name);
    std::error_code ignored;
    const bool is_link = iterator->is_symlink(ignored);
    Result<std::string> target = is_link ? Resolve(path) : Join(resolved, name);
    const auto status =
        target ? Stat(*target, Join(name_, path)) : std::unexpected(std::move(target).error());
    const auto unusable = status ? WhyUnusable(*status, Join(name_, path)) : status.error().message;
    if (unusable) {
      bad_links_.insert_or_assign(path, *unusable);
    } else {
      entries.push_back(MakeEntry(std::move(name), *status));
      if (is_link && entries.back().is_directory) entries.back().link_target = *std::move(target);
    }
    if (entries.size() + bad_links_.size() > kFolderEntriesMax)
      return Fail(ErrorCode::kLimitExceeded,
                  fmt::format("{}: more than {} entries; expected at most that many", Join(name_, folder),
                              kFolderEntriesMax));
  }
  if (error) return FailPath(error, Join(name_, folder));
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return entries;
}

Result<std::shared_ptr<const LocalFile>> SourceFiles::OpenLocal(const std::string& path,
                                                                DescriptorPolicy descriptors) {
  WEIGHTFS_TRY(const std::string resolved, Resolve(path));
  WEIGHTFS_TRY(auto file, LocalFile::Open(resolved, Join(name_, path),
                                          {.source_io = options_.source_io, .descriptors = descriptors}));
  opened_.push_back(file);
  return file;
}

Result<FilePtr> SourceFiles::OpenWeights(const std::string& path, DescriptorPolicy descriptors) {
  WEIGHTFS_TRY(FilePtr file, OpenLocal(path, descriptors));
  WEIGHTFS_TRY(const bool is_lz4, LooksLikeLz4(*file));
  if (!is_lz4) return file;
  return OpenLz4(std::move(file), options_.cache, options_.limits);
}

Result<FilePtr> SourceFiles::OpenPassThrough(const std::string& path) {
  return OpenLocal(path, DescriptorPolicy::kPerRead);
}

bool SourceFiles::HasFile(const std::string& path) const {
  const Result<std::string> resolved = Resolve(path);
  std::error_code ignored;
  return resolved && fs::is_regular_file(*resolved, ignored);
}

Result<std::string> SourceFiles::ReadSmall(const std::string& path, uint64_t bytes_max) {
  // Read once, here and now: no file of the view, so it is not among the opened ones.
  WEIGHTFS_TRY(const std::string resolved, Resolve(path));
  WEIGHTFS_TRY(const auto file,
               LocalFile::Open(resolved, Join(name_, path), {.descriptors = DescriptorPolicy::kPerRead}));
  if (file->size_bytes() > bytes_max)
    return Fail(ErrorCode::kLimitExceeded, fmt::format("{}: {} bytes; expected at most {}", file->name(),
                                                       file->size_bytes(), bytes_max));
  std::string text(file->size_bytes(), '\0');
  WEIGHTFS_CHECK(file->ReadAt(0, std::as_writable_bytes(std::span(text))));
  return text;
}

std::string ShownPath(const SourceFiles& source, const std::string& path) {
  return Join(source.name(), path);
}

}  // namespace weightfs
