#include "convert/virtual_tree.h"

#include <gtest/gtest.h>

namespace weightfs {
namespace {

TEST(VirtualTree, FindsWhatWasAddedAndSortsChildren) {
  VirtualTree tree;
  ASSERT_TRUE(tree.AddFile("unet/model.safetensors", MakeTextFile("abc"), 5));
  ASSERT_TRUE(tree.AddFile("config.json", MakeTextFile("{}"), 7));
  ASSERT_TRUE(tree.AddFile("unet/config.json", MakeTextFile("{}"), 9));
  const NodeId file = tree.FindPath("unet/model.safetensors");
  ASSERT_NE(file, kNoNode);
  EXPECT_EQ(tree.node(file).size_bytes, 3u);
  EXPECT_EQ(tree.Path(file), "unet/model.safetensors");
  EXPECT_EQ(tree.FindPath(""), kRootNode);
  EXPECT_EQ(tree.FindPath("unet/none"), kNoNode);
  EXPECT_EQ(tree.FindPath("config.json/below"), kNoNode);
  const VirtualNode& unet = tree.node(tree.FindPath("unet"));
  ASSERT_EQ(unet.children.size(), 2u);
  EXPECT_EQ(tree.node(unet.children[0]).name, "config.json");
  EXPECT_EQ(unet.mtime_nanoseconds, 9);
}

TEST(VirtualTree, AFileReplacesAFileAndNeverAFolder) {
  VirtualTree tree;
  ASSERT_TRUE(tree.AddFile("a/b", MakeTextFile("1"), 0));
  ASSERT_TRUE(tree.AddFile("a/b", MakeTextFile("22"), 0));
  EXPECT_EQ(tree.node(tree.FindPath("a/b")).size_bytes, 2u);
  EXPECT_EQ(tree.AddFile("a", MakeTextFile("3"), 0).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(tree.AddFile("a/b/c", MakeTextFile("3"), 0).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(tree.AddFile("", MakeTextFile("3"), 0).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(tree.AddFolder("a/b", 0).error().code, ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace weightfs
