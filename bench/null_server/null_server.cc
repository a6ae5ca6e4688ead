// weightfs_null_server [--direct-io] MOUNTPOINT SIZE_BYTES: the ceiling of what a mount can do.
//
// One file, `file.bin`, served by the session and read path of a real mount, whose bytes are in memory
// already when they are asked for. It repeats a pattern of 1 MiB: byte i is (i mod 1 MiB) * 167 / 16 mod 256.
// Stays in front until it is unmounted or interrupted; prints "ready" when the mount answers.
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fs/session.h"

namespace {

using namespace weightfs;  // NOLINT: a program of one file

constexpr uint64_t kPatternBytes = 1_MiB;
constexpr int kExitUsage = 2;

/// The pattern lies twice in a row, so that every range up to its length is one span, as aligned as the
/// range.
class PatternFile : public VirtualFile {
 public:
  explicit PatternFile(uint64_t size_bytes)
      : VirtualFile(size_bytes),
        bytes_(static_cast<std::byte*>(std::aligned_alloc(kReadAlignmentBytes, 2 * kPatternBytes))) {
    if (bytes_ == nullptr) std::abort();
    for (uint64_t i = 0; i < 2 * kPatternBytes; ++i)
      bytes_.get()[i] = std::byte(i % kPatternBytes * 167 / 16);
  }

  Result<std::span<const std::byte>> Read(ByteRange range, ReadScratch&) const override {
    return std::span<const std::byte>(bytes_.get() + range.begin % kPatternBytes, range.size());
  }

 private:
  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };
  std::unique_ptr<std::byte, Free> bytes_;
};

Status ServePattern(const MountOptions& options, uint64_t size_bytes) {
  OpenedSource source;
  source.report.source = "null";
  WEIGHTFS_CHECK(source.tree.AddFile("file.bin", std::make_shared<PatternFile>(size_bytes), 0));
  return MountAndServe(std::move(source), options, [] {
    std::puts("ready");
    std::fflush(stdout);
  });
}

}  // namespace

int main(int argument_count, char** arguments) {
  std::vector<std::string_view> words(arguments + 1, arguments + argument_count);
  MountOptions options;
  if (!words.empty() && words.front() == "--direct-io") {
    options.direct_io = true;
    words.erase(words.begin());
  }
  uint64_t size_bytes = 0;
  if (words.size() != 2 ||
      std::from_chars(words[1].data(), words[1].data() + words[1].size(), size_bytes).ec != std::errc()) {
    std::fprintf(stderr, "usage: weightfs_null_server [--direct-io] MOUNTPOINT SIZE_BYTES\n");
    return kExitUsage;
  }
  options.mountpoint = words[0];
  options.notice = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
  const Status served = ServePattern(options, size_bytes);
  if (served) return EXIT_SUCCESS;
  std::fprintf(stderr, "weightfs_null_server: %s\n%s\n", served.error().message.c_str(),
               served.error().remedy.c_str());
  return EXIT_FAILURE;
}
