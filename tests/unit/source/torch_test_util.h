#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "convert/source/open_file.h"
#include "convert/view/virtual_file.h"
#include "tests/support/torch_writer.h"

namespace weightfs::testing {

inline SourceContext TestContext(const Limits& limits = {}, std::string weights = {}) {
  return {limits, std::make_shared<BlockCache>(limits.cache_bytes), std::move(weights)};
}

inline Result<Checkpoint> ReadCheckpoint(const std::string& bytes,
                                         const SourceContext& context = TestContext()) {
  return OpenCheckpointFile(MakeMemoryFile(bytes, "file.pt"), context);
}

/// The error of a file that must be refused.
inline Error ReadError(const std::string& bytes, const SourceContext& context = TestContext()) {
  const Result<Checkpoint> read = ReadCheckpoint(bytes, context);
  EXPECT_FALSE(read.has_value());
  return read ? Error{} : read.error();
}

inline std::vector<std::string> Names(const Checkpoint& checkpoint) {
  std::vector<std::string> names;
  for (const SourceTensor& tensor : checkpoint.tensors) names.push_back(tensor.name);
  return names;
}

/// Every byte of a tensor.
inline Result<std::string> ReadTensor(const SourceTensor& tensor) {
  WEIGHTFS_TRY(const VirtualFilePtr file,
               MakeViewFile({}, {tensor.view}, std::make_shared<BlockCache>(1_MiB)));
  ReadScratch scratch;
  WEIGHTFS_TRY(const std::span<const std::byte> bytes, file->Read({0, file->size_bytes()}, scratch));
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

/// The little-endian float32 bytes of `values`.
inline std::string Floats(const std::vector<float>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

/// A state dict in which `name` is `value`.
inline PickledValue OneTensorDict(const PickledValue& value, std::string_view name = "w") {
  return PickleDict({{PickleText(name), value}});
}

}  // namespace weightfs::testing
