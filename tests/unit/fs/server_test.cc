#include "fs/server.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cerrno>

namespace weightfs {
namespace {

std::unique_ptr<Server> MakeServer(MountOptions options = {}) {
  OpenedSource source;
  EXPECT_TRUE(source.tree.AddFile("config.json", MakeTextFile("{}"), 0));
  EXPECT_TRUE(source.tree.AddFolder("vae", 0));
  Result<std::unique_ptr<Server>> server = Server::Make(std::move(source), options, "/mnt/m");
  EXPECT_TRUE(server);
  return *std::move(server);
}

TEST(ThreadPlan, LeavesThreadsForMetadataWhateverStalls) {
  for (uint32_t option : {0u, 1u, 3u, 16u}) {
    for (uint32_t groups : {0u, 1u, 100u}) {
      const ThreadPlan plan = ThreadPlan::Make(option, groups);
      if (option != 0) {
        EXPECT_EQ(plan.reads_per_group, option);
      } else {
        EXPECT_GE(plan.reads_per_group, 4u);
        EXPECT_LE(plan.reads_per_group, 16u);
      }
      EXPECT_GT(plan.threads_max, groups + plan.extra_reads);
      EXPECT_GE(plan.idle_max, plan.reads_per_group);
    }
  }
}

TEST(Server, NothingThatIsServedEverExpires) {
  const auto server = MakeServer();
  const auto found = server->Lookup(FUSE_ROOT_ID, "config.json");
  ASSERT_TRUE(found);
  EXPECT_NE(found->ino, 0u);
  EXPECT_EQ(found->entry_timeout, kForeverSeconds);
  EXPECT_EQ(found->attr_timeout, kForeverSeconds);
  const auto absent = server->Lookup(FUSE_ROOT_ID, "pytorch_model.bin");
  ASSERT_TRUE(absent);
  EXPECT_EQ(absent->ino, 0u);
  EXPECT_EQ(absent->entry_timeout, kForeverSeconds);
  fuse_file_info file = {};
  ASSERT_TRUE(server->OpenFile(found->ino, file));
  EXPECT_EQ(file.keep_cache, 1u);
  EXPECT_EQ(file.noflush, 1u);
  EXPECT_EQ(file.direct_io, 0u);
  fuse_file_info folder = {};
  ASSERT_TRUE(server->OpenFolder(FUSE_ROOT_ID, folder));
  EXPECT_EQ(folder.cache_readdir, 1u);
  EXPECT_EQ(folder.keep_cache, 1u);
}

TEST(Server, OnlyTheStatusIsMadeAnew) {
  const auto server = MakeServer();
  const auto folder = server->Lookup(FUSE_ROOT_ID, ".weightfs");
  ASSERT_TRUE(folder);
  const auto status = server->Lookup(folder->ino, "status.json");
  ASSERT_TRUE(status);
  EXPECT_EQ(status->attr_timeout, 0.0);
  EXPECT_GT(status->attr.st_size, 0);
  fuse_file_info file = {};
  ASSERT_TRUE(server->OpenFile(status->ino, file));
  EXPECT_EQ(file.direct_io, 1u);
  EXPECT_EQ(file.keep_cache, 0u);
  server->ReleaseFile(status->ino, file);
}

TEST(Server, RefusesToOpenForWriting) {
  const auto server = MakeServer();
  const auto found = server->Lookup(FUSE_ROOT_ID, "config.json");
  for (int flags : {O_WRONLY, O_RDWR, O_RDWR | O_DIRECT}) {
    fuse_file_info file = {.flags = flags};
    const Status opened = server->OpenFile(found->ino, file);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().error_number, EROFS);
  }
  fuse_file_info direct = {.flags = O_RDONLY | O_DIRECT};
  EXPECT_TRUE(server->OpenFile(found->ino, direct));
}

TEST(Server, TellsFilesFromFolders) {
  const auto server = MakeServer();
  const auto file = server->Lookup(FUSE_ROOT_ID, "config.json");
  fuse_file_info info = {};
  EXPECT_EQ(server->OpenFile(FUSE_ROOT_ID, info).error().error_number, EISDIR);
  EXPECT_EQ(server->OpenFolder(file->ino, info).error().error_number, ENOTDIR);
  EXPECT_EQ(server->Lookup(file->ino, "x").error().error_number, ENOTDIR);
  EXPECT_EQ(server->List(file->ino, 0).error().error_number, ENOTDIR);
  EXPECT_EQ(server->GetAttributes(12345).error().error_number, ENOENT);
}

TEST(Server, DirectIoIsOnlyOnRequest) {
  const auto server = MakeServer({.direct_io = true});
  const auto found = server->Lookup(FUSE_ROOT_ID, "config.json");
  fuse_file_info file = {};
  ASSERT_TRUE(server->OpenFile(found->ino, file));
  EXPECT_EQ(file.direct_io, 1u);
}

TEST(Server, SaysHowMuchItHolds) {
  const struct statvfs statistics = MakeServer()->StatFs();
  EXPECT_EQ(statistics.f_blocks, 1u);
  EXPECT_EQ(statistics.f_bfree, 0u);
  EXPECT_EQ(statistics.f_namemax, 255u);
  EXPECT_GT(statistics.f_bsize, 0u);
}

}  // namespace
}  // namespace weightfs
