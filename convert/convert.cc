#include "convert/convert.h"

#include <fmt/format.h>

#include <utility>

#include "convert/opening.h"
#include "convert/set_family.h"

namespace weightfs {

Result<FamilyRegistry> LoadFamilies(const std::string& rules_path) {
  WEIGHTFS_TRY(FamilyRegistry registry, FamilyRegistry::BuiltIn());
  if (rules_path.empty()) return registry;
  const auto read = [&]() -> Result<std::string> {
    WEIGHTFS_TRY(const std::shared_ptr<SourceFiles> files, SourceFiles::Create(rules_path, {}));
    if (files->is_directory())
      return Fail(ErrorCode::kInvalidArgument, fmt::format("{}: a folder; expected a file", rules_path));
    return files->ReadSmall("", Limits().json_bytes_max);
  };
  const Result<std::string> text = read();
  if (!text) {
    // Whatever is wrong with it, it is not the source.
    Error error = text.error().Within("--rules");
    error.code = ErrorCode::kInvalidArgument;
    return std::unexpected(std::move(error));
  }
  WEIGHTFS_CHECK(registry.AddRules(*text, rules_path));
  return registry;
}

Result<OpenedSource> Open(const std::string& source, const OpenOptions& options) {
  WEIGHTFS_TRY(NameFilter filter, NameFilter::Compile(options.include, options.exclude));
  WEIGHTFS_TRY(FamilyRegistry families, LoadFamilies(options.rules_path));
  WEIGHTFS_CHECK(CheckFamilyOption(families, options));
  return Opening(source, options, std::move(filter),
                 std::make_shared<const FamilyRegistry>(std::move(families)),
                 std::make_shared<BlockCache>(options.limits.cache_bytes))
      .Run();
}

std::vector<FormatInfo> SupportedFormats() {
  return {
      {"torch-zip", "torch.save files since PyTorch 1.6: .bin, .pt, .pth, .ckpt", "formats/torch.md"},
      {"torch-tar", "torch.save files of PyTorch 0.1.1", "formats/torch.md"},
      {"torch-legacy", "torch.save files before PyTorch 1.6", "formats/torch.md"},
      {"safetensors", "safetensors files, single or sharded", "formats/safetensors.md"},
      {"dcp", "folders of torch.distributed.checkpoint: FSDP, accelerate, trainers", "formats/dcp.md"},
      {"huggingface", "folders of any of these: models, pipelines, adapters, cache snapshots",
       "formats/huggingface.md"},
      {"deepspeed",
       "saves of DeepSpeed: ZeRO masters of all ranks, experts, pipelines, universal checkpoints",
       "formats/deepspeed.md"},
      {"lz4", "any of the files above, compressed as seekable .lz4 frames", "formats/lz4.md"},
  };
}

}  // namespace weightfs
