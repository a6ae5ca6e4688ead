// Opens a well-formed zip archive whose pickle is arbitrary bytes: reaches the rebuilding of tensors and the
// choice of the state dict, which random archives hardly do.
#include "tests/fuzz/torch_fuzz.h"
#include "tests/support/zip_writer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using weightfs::testing::ZipWriter;
  ZipWriter zip;
  zip.Add({.name = "a/data.pkl", .content = std::string(reinterpret_cast<const char*>(data), size)});
  for (const char* key : {"0", "1", "2"})
    zip.Add({.name = std::string("a/data/") + key, .content = std::string(64, key[0])});
  if (size % 2 == 1) zip.Add({.name = "a/byteorder", .content = "big"});
  weightfs::fuzz::OpenAndRead(zip.Finish());
  return 0;
}
