// Opens a DeepSpeed save whose files hold arbitrary pickles in well-formed archives.
//
// The input is a list of files: a byte that chooses the name, two bytes of length, the pickle. The first byte
// of all chooses options.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include "convert/source/deepspeed/deepspeed.h"
#include "tests/fuzz/torch_fuzz.h"
#include "tests/support/zip_writer.h"

namespace weightfs::fuzz {
namespace {

constexpr std::string_view kNames[] = {
    "mp_rank_00_model_states.pt",
    "mp_rank_01_model_states.pt",
    "zero_pp_rank_0_mp_rank_00_model_states.pt",
    "zero_pp_rank_1_mp_rank_00_model_states.pt",
    "zero_pp_rank_0_mp_rank_00_optim_states.pt",
    "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt",
    "zero_pp_rank_0_mp_rank_01_optim_states.pt",
    "layer_0_expert_0_mp_rank_00_model_states.pt",
    "layer_0_expert_1_mp_rank_00_model_states.pt",
    "layer_00-model_states.pt",
    "layer_01-model_states.pt",
    "zero/a/fp32.pt",
};
constexpr size_t kFilesMax = 6;

std::string Archive(std::string pickle) {
  using weightfs::testing::ZipWriter;
  ZipWriter zip;
  zip.Add({.name = "a/data.pkl", .content = std::move(pickle)});
  for (const char* key : {"0", "1", "2"})
    zip.Add({.name = std::string("a/data/") + key, .content = std::string(64, key[0])});
  return zip.Finish();
}

/// The folder of this process, emptied.
std::filesystem::path EmptyFolder() {
  static const std::filesystem::path folder = [] {
    std::string pattern = (std::filesystem::temp_directory_path() / "fuzz-deepspeed-XXXXXX").string();
    Require(mkdtemp(pattern.data()) != nullptr);
    return std::filesystem::path(pattern);
  }();
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder / "zero/a");
  return folder;
}

void ReadEnds(const Checkpoint& checkpoint, const std::shared_ptr<BlockCache>& cache) {
  constexpr size_t kTensorsRead = 16;
  static ReadScratch scratch;
  std::set<std::string_view> names;
  for (const SourceTensor& tensor : checkpoint.tensors) Require(names.insert(tensor.name).second);
  for (size_t i = 0; i < std::min(kTensorsRead, checkpoint.tensors.size()); ++i) {
    const auto file = MakeViewFile({}, {checkpoint.tensors[i].view}, cache);
    Require(file.has_value());
    const ByteRange range{0, std::min<uint64_t>((*file)->size_bytes(), 4096)};
    const auto part = (*file)->Read(range, scratch);
    Require(part && part->size() == range.size());
  }
}

}  // namespace
}  // namespace weightfs::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weightfs;
  if (size == 0) return 0;
  const std::filesystem::path folder = fuzz::EmptyFolder();
  size_t at = 1;
  for (size_t files = 0; files < fuzz::kFilesMax && at + 3 <= size; ++files) {
    const std::string_view name = fuzz::kNames[data[at] % std::size(fuzz::kNames)];
    const size_t length = std::min<size_t>(data[at + 1] | data[at + 2] << 8, size - at - 3);
    std::ofstream out(folder / name, std::ios::binary);
    out << fuzz::Archive(std::string(reinterpret_cast<const char*>(data) + at + 3, length));
    at += 3 + length;
  }
  SourceContext context;
  context.limits.cache_bytes = 1_MiB;
  context.cache = std::make_shared<BlockCache>(1_MiB);
  const auto source = SourceFiles::Create(folder.string(), {.cache = context.cache});
  fuzz::Require(source.has_value());
  const auto save = FindDeepSpeedSave(*source, "", "");
  fuzz::Require(save.has_value());
  if (!*save) return 0;
  DeepSpeedOptions options;
  options.weights = (data[0] & 1) != 0 ? DeepSpeedWeights::kModule : DeepSpeedWeights::kMaster;
  options.partial = (data[0] & 2) != 0;
  const auto read = ReadDeepSpeed(**save, options, context);
  if (!read) {
    fuzz::Require(!read.error().message.empty() && read.error().code != ErrorCode::kInternal &&
                  read.error().code != ErrorCode::kIo);
    return 0;
  }
  for (const Checkpoint& rank : read->ranks) fuzz::ReadEnds(rank, context.cache);
  return 0;
}
