#include "fs/inode_table.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/support/virtual_files.h"

namespace weightfs {
namespace {

using ::testing::ElementsAre;
using testing::SharedMemory;
using testing::SteeredFile;
using testing::Steering;

constexpr int64_t kTime = 1'700'000'000'123'456'789;
constexpr Owner kOwner{.user = 12, .group = 34};

VirtualFilePtr WaitingFile(uint64_t size_bytes) {
  return std::make_shared<SteeredFile>(size_bytes, SharedMemory<Steering>());
}

VirtualTree MakeTree() {
  VirtualTree tree;
  EXPECT_TRUE(tree.AddFile("model.safetensors", WaitingFile(1000), kTime));
  EXPECT_TRUE(tree.AddFile("config.json", MakeTextFile("{}"), kTime));
  EXPECT_TRUE(tree.AddFile("vae/model.safetensors", WaitingFile(513), kTime));
  EXPECT_TRUE(tree.AddFile(".weightfs/tensors/a.npy", WaitingFile(7), kTime));
  tree.Hide(tree.FindPath(".weightfs"));
  return tree;
}

NodeRef At(const InodeTable& table, std::initializer_list<std::string_view> path) {
  std::optional<NodeRef> node = table.Find(1);
  for (std::string_view name : path) {
    node = table.Child(*node, name);
    EXPECT_TRUE(node) << name;
  }
  return *node;
}

std::vector<std::string> List(const InodeTable& table, NodeRef folder) {
  std::vector<std::string> names;
  uint64_t position = 0;
  while (auto entry = table.EntryAt(folder, position)) {
    names.emplace_back(entry->name);
    position = entry->next;
  }
  return names;
}

TEST(InodeTable, NumbersAreTheNodesPlusOneAndUnknownOnesAreRefused) {
  const VirtualTree tree = MakeTree();
  const InodeTable table(tree, kOwner);
  std::set<uint64_t> inodes;
  for (NodeId id = 0; id < tree.size(); ++id) {
    const std::optional<NodeRef> node = table.Find(id + 1);
    ASSERT_TRUE(node);
    EXPECT_EQ(node->id, id);
    inodes.insert(InodeTable::InodeOf(*node));
  }
  EXPECT_EQ(inodes.size(), tree.size());
  EXPECT_EQ(*inodes.begin(), 1u);
  for (uint64_t unknown :
       {uint64_t{0}, uint64_t{tree.size() + 1}, uint64_t{1} << 32, (uint64_t{1} << 32) + 1, UINT64_MAX})
    EXPECT_FALSE(table.Find(unknown)) << unknown;
}

TEST(InodeTable, AttributesAreThoseOfAReadOnlyTree) {
  const VirtualTree tree = MakeTree();
  const InodeTable table(tree, kOwner);
  const struct stat file = table.Attributes(At(table, {"vae", "model.safetensors"}));
  EXPECT_EQ(file.st_mode, S_IFREG | 0444u);
  EXPECT_EQ(file.st_nlink, 1u);
  EXPECT_EQ(file.st_size, 513);
  EXPECT_EQ(file.st_blocks, 2);
  EXPECT_EQ(file.st_uid, 12u);
  EXPECT_EQ(file.st_gid, 34u);
  EXPECT_EQ(file.st_mtim.tv_sec, 1'700'000'000);
  EXPECT_EQ(file.st_mtim.tv_nsec, 123'456'789);
  EXPECT_NE(file.st_ino, 0u);
  const struct stat root = table.Attributes(At(table, {}));
  EXPECT_EQ(root.st_mode, S_IFDIR | 0555u);
  EXPECT_EQ(root.st_nlink, 3u) << "one folder that is listed";
  EXPECT_EQ(root.st_ino, 1u);
}

TEST(InodeTable, TimesBeforeTheEpochAreWellFormed) {
  VirtualTree tree;
  ASSERT_TRUE(tree.AddFile("old", MakeTextFile("x"), -1));
  const InodeTable table(tree, kOwner);
  const struct stat file = table.Attributes(At(table, {"old"}));
  EXPECT_EQ(file.st_mtim.tv_sec, -1);
  EXPECT_EQ(file.st_mtim.tv_nsec, 999'999'999);
}

TEST(InodeTable, ListingLeavesOutWhatIsHidden) {
  const VirtualTree tree = MakeTree();
  const InodeTable table(tree, kOwner);
  EXPECT_THAT(List(table, At(table, {})), ElementsAre(".", "..", "config.json", "model.safetensors", "vae"));
  EXPECT_THAT(List(table, At(table, {".weightfs"})), ElementsAre(".", "..", "tensors"));
  EXPECT_EQ(table.listed_bytes(), 1000u + 2 + 513);
}

TEST(InodeTable, GroupsFilesByWhatTheyWaitFor) {
  const VirtualTree tree = MakeTree();
  const InodeTable table(tree, kOwner);
  EXPECT_EQ(table.wait_group_count(), 3u);
  EXPECT_EQ(At(table, {"config.json"}).file().wait_group, kNeverWaits);
  EXPECT_NE(At(table, {"model.safetensors"}).file().wait_group,
            At(table, {"vae", "model.safetensors"}).file().wait_group);
  EXPECT_EQ(At(table, {"model.safetensors"}).file().file_class, FileClass::kWeights);
  EXPECT_EQ(At(table, {".weightfs", "tensors", "a.npy"}).file().file_class, FileClass::kTensorArrays);
  EXPECT_EQ(At(table, {"config.json"}).file().file_class, FileClass::kOther);
}

TEST(InodeTable, GroupsAreBoundedHoweverManySourcesThereAre) {
  VirtualTree tree;
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(tree.AddFile(fmt::format("f{}", i), WaitingFile(1), 0));
  const InodeTable table(tree, kOwner);
  EXPECT_EQ(table.wait_group_count(), kWaitGroupsMax);
  for (NodeId id = 1; id < tree.size(); ++id)
    EXPECT_LT(table.Find(id + 1)->file().wait_group, kWaitGroupsMax);
}

TEST(InodeTable, AddedTreesAreFoldersOfTheRoot) {
  const VirtualTree first = MakeTree();
  const VirtualTree second = MakeTree();
  InodeTable table(first, kOwner);
  const uint64_t inode_before = InodeTable::InodeOf(At(table, {"vae"}));
  table.AddTree(second, "step7");
  EXPECT_THAT(List(table, At(table, {})),
              ElementsAre(".", "..", "config.json", "model.safetensors", "vae", "step7"));
  const NodeRef step = At(table, {"step7"});
  EXPECT_TRUE(step.node().is_directory);
  EXPECT_THAT(List(table, step), ElementsAre(".", "..", "config.json", "model.safetensors", "vae"));
  EXPECT_EQ(InodeTable::InodeOf(At(table, {"vae"})), inode_before);
  const NodeRef file = At(table, {"step7", "vae", "model.safetensors"});
  EXPECT_EQ(PathOf(file.file()), "step7/vae/model.safetensors");
  EXPECT_EQ(table.Find(InodeTable::InodeOf(file))->id, file.id);
  EXPECT_EQ(table.Attributes(step).st_mode, S_IFDIR | 0555u);
  EXPECT_EQ(table.Attributes(At(table, {})).st_nlink, 4u);
  EXPECT_EQ(InodeTable::InodeOf(table.EntryAt(step, 1)->node), 1u) << "its .. is the root";
}

}  // namespace
}  // namespace weightfs
