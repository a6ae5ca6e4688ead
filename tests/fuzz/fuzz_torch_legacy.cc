// Opens arbitrary bytes as a torch file from before zip; the seeds are such files.
#include "tests/fuzz/torch_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  weightfs::fuzz::OpenAndRead(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
