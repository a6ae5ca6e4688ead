// Models that are parts of a pipeline: where each is served, what an overlay adds, what one part tells of
// another.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "convert/convert.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/convert/tree_test_util.h"

namespace weightfs {
namespace {

namespace fs = std::filesystem;
using namespace weightfs::testing;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr std::string_view kRules = R"json({"families": [
  {
    "family": "film", "title": "the main model", "source": "film.w", "target": "diffusers", "folder": "film",
    "detect": ["has('film.w')"],
    "tensors": [{"to": "w", "from": "film.w", "do": "n*"}],
    "config": {"_class_name": "Film", "size": "=dim('film.w', 0)"},
    "pipeline": {
      "needs": ["lens", "words", "letters"],
      "folders": {"words": "old_words", "letters": "old_words"},
      "options": {"lens": {"kind": "dim('film.w', 0) == 2 ? 'wide' : 'long'"}},
      "files": {"model_index.json": {"_class_name": "Movie"}, "timer/timer_config.json": {"size": "=dim('film.w', 0)"}}
    }
  },
  {
    "family": "lens", "title": "a part", "source": "lens.w", "target": "diffusers", "folder": "lens", "weights": ["glass.pt"],
    "detect": ["has('lens.w')"],
    "options": {"kind": {"default": "long", "values": ["long", "wide"], "assumed": "no lens tells"}},
    "tensors": [{"to": "w", "from": "lens.w", "do": "n*"}],
    "config": {"_class_name": "Lens", "kind": "=options.kind"}
  }
]})json";

std::string Weights(const std::string& name, uint64_t extent) {
  return WriteSafetensors({{name, "U8", extent, std::string(extent, 'x')}});
}

class OpenComponentsTest : public ::testing::Test {
 protected:
  OpenComponentsTest() {
    WriteFile(rules_ / "rules.json", kRules);
    options_.rules_path = rules_ / "rules.json";
  }

  static void Write(const TempDir& dir, const std::string& path, std::string_view text) {
    fs::create_directories(fs::path(dir / path).parent_path());
    WriteFile(dir / path, text);
  }
  OpenedSource OpenAt(const std::string& path) {
    Result<OpenedSource> opened = Open(path, options_);
    EXPECT_TRUE(opened) << opened.error().message;
    return opened ? *std::move(opened) : OpenedSource{};
  }
  OpenedSource OpenDir() { return OpenAt(dir_.path().string()); }
  void AddWords(const TempDir& dir, const std::string& folder) {
    Write(dir, folder + "/model.safetensors", Weights("word", 3));
    Write(dir, folder + "/config.json", R"({"model_type": "words"})");
    Write(dir, folder + "/spelling.txt", "abc");
  }

  TempDir dir_, overlay_, rules_;
  OpenOptions options_;
};

bool Has(const OpenedSource& opened, std::string_view path) { return opened.tree.FindPath(path) != kNoNode; }
std::string Read(const OpenedSource& opened, std::string_view path) { return ReadWhole(opened.tree, path); }

TEST_F(OpenComponentsTest, AModelGoesIntoItsFolder) {
  for (const std::string folder : {"", "film/", "film_of_today/", "film-2/"}) {
    TempDir dir;
    Write(dir, folder + "model.safetensors", Weights("film.w", 2));
    Write(dir, folder + "notes.txt", "n");
    const OpenedSource opened = OpenAt(dir.path().string());
    EXPECT_TRUE(Has(opened, "film/diffusion_pytorch_model.safetensors")) << folder;
    EXPECT_THAT(Read(opened, "film/config.json"), HasSubstr("\"size\": 2")) << folder;
    // Other files go with the folder; those of the source itself stay.
    EXPECT_TRUE(Has(opened, folder.empty() ? "notes.txt" : "film/notes.txt"));
    if (folder != "film/" && !folder.empty()) {
      EXPECT_FALSE(Has(opened, folder.substr(0, folder.size() - 1)));
    }
  }
  Write(dir_, "runs/today/model.safetensors", Weights("film.w", 2));
  EXPECT_TRUE(Has(OpenDir(), "runs/today/film/diffusion_pytorch_model.safetensors"));
  EXPECT_TRUE(Has(OpenAt(dir_ / "runs/today/model.safetensors"), "film/diffusion_pytorch_model.safetensors"));
}

TEST_F(OpenComponentsTest, TwoModelsOfOneFolderKeepTheirOwn) {
  Write(dir_, "film_a/model.safetensors", Weights("film.w", 2));
  Write(dir_, "film_b/model.safetensors", Weights("film.w", 3));
  Write(dir_, "lens/model.safetensors", Weights("lens.w", 3));
  const OpenedSource opened = OpenDir();
  EXPECT_TRUE(Has(opened, "film_a/diffusion_pytorch_model.safetensors"));
  EXPECT_TRUE(Has(opened, "film_b/config.json"));
  EXPECT_FALSE(Has(opened, "film"));
  EXPECT_THAT(opened.report.notes,
              Contains(HasSubstr("film_a/, film_b/: served under the name that it has")));
  // They do not agree on the lens.
  EXPECT_THAT(Read(opened, "lens/config.json"), HasSubstr("\"kind\": \"long\""));
  EXPECT_THAT(opened.report.notes, Contains(HasSubstr("--family lens:kind=wide says otherwise")));
}

TEST_F(OpenComponentsTest, TheMainModelTellsOfItsParts) {
  Write(dir_, "film/model.safetensors", Weights("film.w", 2));
  Write(dir_, "lens/model.safetensors", Weights("lens.w", 3));
  const OpenedSource told = OpenDir();
  EXPECT_THAT(Read(told, "lens/config.json"), HasSubstr("\"kind\": \"wide\""));
  EXPECT_THAT(told.report.notes, Not(Contains(HasSubstr("lens:kind"))));
  const OpenedSource alone = OpenAt(dir_ / "lens");
  EXPECT_THAT(Read(alone, "lens/config.json"), HasSubstr("\"kind\": \"long\""));
  EXPECT_THAT(alone.report.notes, Contains("the family lens takes kind to be long: no lens tells; "
                                           "--family lens:kind=wide says otherwise"));
  options_.family = "lens";
  options_.family_options = {{"kind", "long"}};
  EXPECT_THAT(OpenAt(dir_ / "lens").report.notes, IsEmpty());
}

TEST_F(OpenComponentsTest, AFamilyThatIsNamedIsForTheModelsThatItFits) {
  Write(dir_, "film/model.safetensors", Weights("film.w", 2));
  Write(dir_, "lens/model.safetensors", Weights("lens.w", 3));
  AddWords(dir_, "words");
  options_.family = "lens";
  options_.family_options = {{"kind", "long"}};
  const OpenedSource opened = OpenDir();
  EXPECT_THAT(Read(opened, "lens/config.json"), HasSubstr("\"kind\": \"long\""));
  EXPECT_THAT(Read(opened, "film/config.json"), HasSubstr("\"Film\""));
  EXPECT_TRUE(Has(opened, "words/model.safetensors"));
  // One that fits none of them is meant for all.
  fs::remove_all(dir_ / "lens");
  const Result<OpenedSource> refused = Open(dir_.path().string(), options_);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("needs lens.w"));
}

TEST_F(OpenComponentsTest, AnOverlayCompletesThePipeline) {
  Write(dir_, "model.safetensors", Weights("film.w", 2));
  OpenedSource opened = OpenDir();
  EXPECT_FALSE(Has(opened, "model_index.json"));
  EXPECT_THAT(
      opened.report.notes,
      Contains(HasSubstr("film/: no lens/, words/, letters/ beside it, so that no model_index.json")));
  AddWords(overlay_, "words");
  Write(overlay_, "letters/spelling.txt", "abc");
  Write(overlay_, "lens/model.safetensors", Weights("lens.w", 3));
  Write(overlay_, "other/model.safetensors", Weights("other", 3));
  options_.overlays = {overlay_.path().string()};
  opened = OpenDir();
  EXPECT_THAT(Read(opened, "model_index.json"), HasSubstr("Movie"));
  EXPECT_EQ(Read(opened, "timer/timer_config.json"), "{\n  \"size\": 2\n}\n");
  EXPECT_THAT(Read(opened, "words/model.safetensors"), HasSubstr("word"));
  EXPECT_THAT(Read(opened, "lens/config.json"), HasSubstr("\"kind\": \"wide\""));
  // Weights that no pipeline needs are not an overlay's to give.
  EXPECT_FALSE(Has(opened, "other/model.safetensors"));
  EXPECT_THAT(opened.report.notes, IsEmpty());
}

TEST_F(OpenComponentsTest, TheSourceWinsOverAnOverlayAndGivenFilesOverDerivedOnes) {
  Write(dir_, "film/model.safetensors", Weights("film.w", 2));
  Write(dir_, "lens/model.safetensors", Weights("lens.w", 3));
  AddWords(overlay_, "words");
  Write(overlay_, "letters/spelling.txt", "abc");
  Write(overlay_, "lens/model.safetensors", Weights("lens.w", 5));
  Write(overlay_, "model_index.json", R"({"_class_name": "Mine"})");
  options_.overlays = {overlay_.path().string()};
  const OpenedSource opened = OpenDir();
  EXPECT_EQ(Read(opened, "model_index.json"), R"({"_class_name": "Mine"})");
  EXPECT_TRUE(Has(opened, "timer/timer_config.json"));
  for (const TensorReport& tensor : opened.report.tensors)
    if (tensor.file.starts_with("lens/")) {
      EXPECT_EQ(tensor.view.shape(), Shape{3});
    }
}

TEST_F(OpenComponentsTest, AConfigurationWithoutWeightsIsNoPart) {
  Write(dir_, "film/model.safetensors", Weights("film.w", 2));
  Write(dir_, "lens/model.safetensors", Weights("lens.w", 3));
  Write(dir_, "words/config.json", R"({"model_type": "words"})");
  Write(dir_, "letters/spelling.txt", "abc");
  const OpenedSource opened = OpenDir();
  EXPECT_FALSE(Has(opened, "model_index.json"));
  EXPECT_THAT(opened.report.notes, Contains(HasSubstr("no words/ beside it")));
}

TEST_F(OpenComponentsTest, PartsUnderAnotherName) {
  for (const bool in_overlay : {false, true}) {
    TempDir source, more;
    Write(source, "film/model.safetensors", Weights("film.w", 2));
    Write(source, "lens/model.safetensors", Weights("lens.w", 3));
    AddWords(in_overlay ? more : source, "old_words");
    options_.overlays.clear();
    if (in_overlay) options_.overlays = {more.path().string()};
    const OpenedSource opened = OpenAt(source.path().string());
    EXPECT_TRUE(Has(opened, "model_index.json"));
    EXPECT_TRUE(Has(opened, "words/model.safetensors"));
    EXPECT_TRUE(Has(opened, "words/config.json"));
    EXPECT_EQ(Read(opened, "letters/spelling.txt"), "abc");
    EXPECT_FALSE(Has(opened, "letters/config.json"));
    EXPECT_FALSE(Has(opened, "letters/model.safetensors"));
    EXPECT_FALSE(Has(opened, "old_words"));
  }
}

TEST_F(OpenComponentsTest, TheConfigurationThatIsGivenGoesWithTheModel) {
  Write(dir_, "model.safetensors", Weights("film.w", 2));
  Write(rules_, "given.json", R"({"_class_name": "Given"})");
  options_.config_path = rules_ / "given.json";
  OpenedSource opened = OpenDir();
  EXPECT_EQ(Read(opened, "film/config.json"), R"({"_class_name": "Given"})");
  EXPECT_FALSE(Has(opened, "config.json"));
  // What lies over the folder of the model is not what is named for the model.
  Write(overlay_, "film/config.json", R"({"_class_name": "Overlay"})");
  options_.overlays = {overlay_.path().string()};
  EXPECT_EQ(Read(OpenDir(), "film/config.json"), R"({"_class_name": "Given"})");
  options_.config_path.clear();
  EXPECT_EQ(Read(OpenDir(), "film/config.json"), R"({"_class_name": "Overlay"})");
  // A text model's configuration in the source is not that of the film.
  options_.overlays.clear();
  Write(dir_, "config.json", R"({"model_type": "words"})");
  opened = OpenDir();
  EXPECT_EQ(Read(opened, "config.json"), R"({"model_type": "words"})");
  EXPECT_THAT(Read(opened, "film/config.json"), HasSubstr("\"Film\""));
}

TEST_F(OpenComponentsTest, WeightsOfAFormWithoutANameTakeThatOfTheirConfiguration) {
  WriteFile(dir_ / "weights.safetensors", Weights("w", 2));
  const std::string bare = dir_ / "weights.safetensors";
  EXPECT_TRUE(Has(OpenAt(bare), "model.safetensors"));
  Write(rules_, "given.json", R"({"_class_name": "Given"})");
  options_.config_path = rules_ / "given.json";
  EXPECT_TRUE(Has(OpenAt(bare), "diffusion_pytorch_model.safetensors"));
  Write(rules_, "given.json", R"({"model_type": "gpt2"})");
  EXPECT_TRUE(Has(OpenAt(bare), "model.safetensors"));
}

}  // namespace
}  // namespace weightfs
