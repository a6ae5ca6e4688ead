/// \file
/// A mount of files that a test steers. These tests need /dev/fuse: on a machine without it they fail, and
/// say so.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "fs/session.h"
#include "tests/support/temp_dir.h"
#include "tests/support/virtual_files.h"

namespace weightfs::testing {

/// Asks until `condition` holds; false after `seconds`.
template <typename Condition>
bool Eventually(Condition condition, int seconds = 10) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

/// A descriptor that is closed at the end of its scope.
class Descriptor {
 public:
  Descriptor(const std::string& path, int flags) : value_(open(path.c_str(), flags | O_CLOEXEC)) {}
  ~Descriptor() { Close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  operator int() const { return value_; }
  void Close() {
    if (value_ >= 0) close(std::exchange(value_, -1));
  }

 private:
  int value_;
};

/// One folder to mount on, and one mount at a time.
class MountTest : public ::testing::Test {
 protected:
  MountTest() : mountpoint_(dir_ / "mountpoint") { std::filesystem::create_directory(mountpoint_); }

  void SetUp() override {
    const Status fuse = CheckFuse();
    ASSERT_TRUE(fuse) << "this machine cannot mount: " << fuse.error().message << "; " << fuse.error().remedy;
  }

  void TearDown() override {
    for (const SharedMemory<Steering>& steering : steered_) {
      steering->is_stalled = false;
      steering->error_number = 0;
    }
    if (!process_) return;
    const Status stopped = process_->Stop();
    EXPECT_TRUE(stopped) << stopped.error().message;
    EXPECT_FALSE(Umount(mountpoint_)) << "the mount was still there after its process ended";
  }

  /// Adds a file whose bytes are PatternByte to what the next `Mount` serves.
  SharedMemory<Steering> AddSteeredFile(const std::string& path, uint64_t size_bytes) {
    SharedMemory<Steering> steering;
    EXPECT_TRUE(source_.tree.AddFile(path, std::make_shared<SteeredFile>(size_bytes, steering), kTime));
    steered_.push_back(steering);
    return steering;
  }

  void Mount(MountOptions options = {}) {
    options.mountpoint = mountpoint_;
    source_.report.source = "a source";
    Result<MountProcess> started =
        MountProcess::Start(std::move(source_), options, MountProcess::Lifetime::kWithParent);
    ASSERT_TRUE(started) << started.error().message;
    process_ = *std::move(started);
  }

  std::string Path(const std::string& name) const { return mountpoint_ + "/" + name; }

  nlohmann::json ReadStatusJson() {
    const Result<std::string> text = ReadStatus(mountpoint_);
    EXPECT_TRUE(text) << text.error().message;
    return nlohmann::json::parse(text.value_or("{}"), nullptr, /*allow_exceptions=*/false);
  }
  uint64_t CountOf(const std::string& operation) {
    return ReadStatusJson().at("latency").at(operation).at("count").get<uint64_t>();
  }

  static constexpr int64_t kTime = 1'700'000'000'000'000'000;
  TempDir dir_;
  const std::string mountpoint_;
  OpenedSource source_;
  std::vector<SharedMemory<Steering>> steered_;
  std::optional<MountProcess> process_;
};

/// The bytes `[offset, offset + size)` that `pread` gives, in as many calls as it takes.
inline std::string PreadAll(int descriptor, uint64_t offset, size_t size) {
  std::string bytes(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t n = pread(descriptor, bytes.data() + done, size - done, static_cast<off_t>(offset + done));
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  bytes.resize(done);
  return bytes;
}

}  // namespace weightfs::testing
