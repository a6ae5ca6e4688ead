// Any bytes as an lz4 file: opening and reading may fail and nothing else, and what is read is what liblz4's
// own frame decoder gives.
#include <lz4frame.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "convert/io/lz4_file.h"

namespace {

constexpr uint64_t kContentBytesMax = 16u << 20;

/// The content of all frames, or nothing when liblz4 refuses them. `content_bytes` is where to stop.
bool DecodeAll(const std::string& compressed, size_t content_bytes, std::string* content) {
  LZ4F_dctx* context = nullptr;
  if (LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION))) std::abort();
  content->assign(content_bytes + 1, '\0');
  size_t read = 0;
  size_t written = 0;
  bool sound = true;
  while (sound && read < compressed.size()) {
    size_t in = compressed.size() - read;
    size_t out = content->size() - written;
    sound = !LZ4F_isError(LZ4F_decompress(context, content->data() + written, &out, compressed.data() + read,
                                          &in, nullptr)) &&
            (in != 0 || out != 0);
    read += in;
    written += out;
  }
  LZ4F_freeDecompressionContext(context);
  content->resize(written);
  return sound;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  weightfs::Limits limits;
  limits.lz4_table_bytes_max = 1u << 20;
  const auto source = weightfs::MakeMemoryFile(bytes, "f.lz4");
  const auto file = weightfs::OpenLz4(source, std::make_shared<weightfs::BlockCache>(1u << 20), limits);
  if (!file || (*file)->size_bytes() > kContentBytesMax) return 0;
  std::string content((*file)->size_bytes(), '\0');
  if (!(*file)->ReadAt(0, std::as_writable_bytes(std::span(content)))) return 0;

  std::string part(content.size() / 3, '\0');
  if (!(*file)->ReadAt(content.size() / 2, std::as_writable_bytes(std::span(part)))) std::abort();
  if (content.compare(content.size() / 2, part.size(), part) != 0) std::abort();
  // liblz4 also checks the checksum of the whole content, which we cannot: it may refuse what we read.
  std::string expected;
  if (DecodeAll(bytes, content.size(), &expected) && expected != content) std::abort();
  return 0;
}
