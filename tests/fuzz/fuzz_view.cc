// A torch-like tensor made of the input's bytes is either refused, or every range of it that the input asks
// for equals what a dense evaluator gives.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "convert/view/virtual_file.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/dense_view.h"

namespace weightfs {
namespace {

testing::DenseTensor TakeTensor(Input& input) {
  testing::DenseTensor tensor;
  tensor.dtype = static_cast<DType>(input.Byte() % kDTypeCount);
  const uint8_t cast = input.Byte();
  tensor.cast = cast < 128 ? tensor.dtype : static_cast<DType>(cast % kDTypeCount);
  tensor.ops.swap_bytes = static_cast<uint8_t>(1u << input.Byte() % 5);
  tensor.ops.sign_flip = static_cast<SignFlip>(input.Byte() % 4);
  tensor.offset = input.Number();
  const size_t rank = input.Byte() % 8;
  for (size_t i = 0; i < rank; ++i) {
    tensor.shape.push_back(input.Number());
    tensor.strides.push_back(input.Number());
  }
  return tensor;
}

void CheckRange(const VirtualFile& file, const std::string& expected, ByteRange range, ReadScratch& scratch) {
  const auto part = file.Read(range, scratch);
  Expect(part && part->size() == range.size() &&
         std::memcmp(part->data(), expected.data() + range.begin, range.size()) == 0);
}

void Run(Input input) {
  testing::DenseTensor tensor = TakeTensor(input);
  const uint64_t cache_bytes = uint64_t{1} << input.Byte() % 20;
  uint64_t ranges[4];
  for (uint64_t& range : ranges) range = input.Number();
  // The storage is the rest of the input, over and over: a short input reaches larger tensors.
  tensor.storage = input.Rest();
  const uint64_t repeats = 1 + ranges[0] % 64;
  if (!tensor.storage.empty() && tensor.storage.size() * repeats < 8_KiB)
    for (const std::string once = tensor.storage; tensor.storage.size() < once.size() * repeats;)
      tensor.storage += once;
  Limits limits;
  limits.repeated_tensor_bytes_max = 8_KiB;
  limits.repeated_tensor_factor_max = 1;
  const auto view = tensor.View(MakeMemoryFile(tensor.storage, "storage"), limits);
  if (!view) return Expect(!view.error().message.empty());
  const std::string expected = "header" + testing::DenseBytes(tensor);
  const auto file = MakeViewFile("header", {*view}, std::make_shared<BlockCache>(cache_bytes));
  Expect(file && (*file)->size_bytes() == expected.size());
  static ReadScratch scratch;
  CheckRange(**file, expected, {0, expected.size()}, scratch);
  for (const uint64_t range : ranges) {
    const uint64_t begin = range % (expected.size() + 1);
    CheckRange(**file, expected, {begin, begin + range / 7 % (expected.size() - begin + 1)}, scratch);
  }
}

}  // namespace
}  // namespace weightfs

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  weightfs::Run({data, size});
  return 0;
}
