#include "convert/convert.h"

#include <utility>

#include "convert/opening.h"

namespace weightfs {

Result<OpenedSource> Open(const std::string& source, const OpenOptions& options) {
  WEIGHTFS_TRY(NameFilter filter, NameFilter::Compile(options.include, options.exclude));
  return Opening(source, options, std::move(filter), std::make_shared<BlockCache>(options.limits.cache_bytes))
      .Run();
}

std::vector<FormatInfo> SupportedFormats() {
  return {
      {"torch-zip", "torch.save files since PyTorch 1.6: .bin, .pt, .pth, .ckpt", "formats/torch.md"},
      {"torch-tar", "torch.save files of PyTorch 0.1.1", "formats/torch.md"},
      {"torch-legacy", "torch.save files before PyTorch 1.6", "formats/torch.md"},
      {"safetensors", "safetensors files, single or sharded", "formats/safetensors.md"},
      {"huggingface", "folders of any of these: models, pipelines, adapters, cache snapshots",
       "formats/huggingface.md"},
      {"lz4", "any of the files above, compressed as seekable .lz4 frames", "formats/lz4.md"},
  };
}

}  // namespace weightfs
