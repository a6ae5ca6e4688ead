// A folder of training steps: what becomes whole appears, what is there stays.
#include <sys/stat.h>

#include "tests/mount/mount_test.h"

namespace weightfs::testing {
namespace {

TEST_F(MountTest, AStepAppearsOnceItIsWholeAndWhatIsThereStays) {
  AddSteeredFile("step1/model.safetensors", 100);
  const std::string steps = dir_ / "steps";
  std::filesystem::create_directory(steps);
  source_.steps = std::make_shared<StepFolder>(
      steps, std::set<std::string>{"step1"}, [steps](const std::string& name) -> Result<OpenedSource> {
        OpenedSource step;
        WEIGHTFS_CHECK(step.tree.AddFile("model.safetensors",
                                         MakeTextFile(ReadFile(steps + "/" + name + "/file")), kTime));
        return step;
      });
  Mount();
  struct stat attributes;
  EXPECT_EQ(stat(Path("step2").c_str(), &attributes), -1) << "asked for before it is there";
  struct stat before;
  ASSERT_EQ(stat(Path("step1/model.safetensors").c_str(), &before), 0);

  std::filesystem::create_directory(steps + "/step2");
  WriteFile(steps + "/step2/file", "bytes of a step");
  ASSERT_TRUE(Eventually([&] {
    for (const auto& entry : std::filesystem::directory_iterator(mountpoint_))
      if (entry.path().filename() == "step2") return true;
    return false;
  }));
  EXPECT_EQ(ReadFile(Path("step2/model.safetensors")), "bytes of a step");
  struct stat after;
  ASSERT_EQ(stat(Path("step1/model.safetensors").c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);

  std::filesystem::create_directory(steps + "/step3");
  WriteFile(steps + "/step3/file", "more");
  EXPECT_TRUE(Eventually([&] { return stat(Path("step3").c_str(), &attributes) == 0; })) << "by name alone";
}

}  // namespace
}  // namespace weightfs::testing
