/// \file
/// Small sources of families in memory.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "convert/family/family.h"
#include "convert/view/virtual_file.h"

namespace weightfs::testing {

/// Metadata in memory; counts what is asked of it.
class TestMetadata final : public FamilyMetadata {
 public:
  Result<const nlohmann::json*> Values() const override { return values.is_null() ? nullptr : &values; }
  Result<const nlohmann::json*> File(const std::string& name) const override {
    ++files_asked;
    const auto found = files.find(name);
    return found == files.end() ? nullptr : &found->second;
  }
  bool HasFile(const std::string& name) const override { return files.contains(name); }
  std::string SourceName() const override { return source_name; }

  nlohmann::json values;
  std::map<std::string, nlohmann::json> files;
  std::string source_name = "model.pt";
  mutable int files_asked = 0;
};

/// A view of 32-bit integers (or another type of 4 bytes) in row-major order.
inline TensorView View(const std::vector<uint32_t>& elements, Shape shape, DType dtype = DType::kI32) {
  std::string bytes(elements.size() * 4, '\0');
  std::memcpy(bytes.data(), elements.data(), bytes.size());
  return *TensorView::Make(MakeMemoryFile(bytes, "memory"), *Layout::Contiguous(elements.size(), 4, 0), dtype,
                           std::move(shape));
}

/// The elements of a view of 4-byte elements.
inline std::vector<uint32_t> Elements(const TensorView& view) {
  const auto file = MakeViewFile({}, {view}, std::make_shared<BlockCache>(uint64_t{1} << 20));
  if (!file) {
    ADD_FAILURE() << file.error().message;
    return {};
  }
  ReadScratch scratch;
  const auto bytes = (*file)->Read({0, (*file)->size_bytes()}, scratch);
  if (!bytes) {
    ADD_FAILURE() << bytes.error().message;
    return {};
  }
  std::vector<uint32_t> elements(bytes->size() / 4);
  std::memcpy(elements.data(), bytes->data(), bytes->size());
  return elements;
}

/// A source under construction. Elements are numbered through the whole source unless they are given.
class TestSource {
 public:
  TestSource() { input.metadata = &metadata; }
  TestSource(const TestSource&) = delete;
  TestSource& operator=(const TestSource&) = delete;

  /// A tensor in `parts` parts of this shape.
  TestSource& Add(const std::string& name, const Shape& shape, size_t parts = 1, DType dtype = DType::kI32) {
    FamilyTensor& tensor = input.tensors.emplace_back();
    tensor.name = name;
    for (size_t i = 0; i < parts; ++i) tensor.parts.push_back(Numbered(shape, dtype));
    return *this;
  }
  TestSource& AddParts(const std::string& name, std::vector<TensorView> parts) {
    input.tensors.push_back({name, std::move(parts)});
    return *this;
  }
  TensorView Numbered(const Shape& shape, DType dtype = DType::kI32) {
    uint64_t count = 1;
    for (const uint64_t extent : shape) count *= extent;
    std::vector<uint32_t> elements(count);
    for (uint32_t& element : elements) element = next_++;
    return View(elements, shape, dtype);
  }

  TestMetadata metadata;
  FamilyInput input;

 private:
  uint32_t next_ = 1;
};

/// A registry with these rules alone.
inline FamilyRegistry Rules(const std::string& text) {
  FamilyRegistry registry;
  const Status added = registry.AddRules(text, "rules.json");
  EXPECT_TRUE(added) << (added ? "" : added.error().message);
  return registry;
}

/// A table named `name` with these members; what every table needs is added.
inline std::string TableOf(const std::string& name, const std::string& members) {
  std::string text =
      R"({"family": ")" + name + R"(", "title": "about )" + name + R"(", "source": "s", "target": "hf")";
  if (!members.contains("\"detect\"")) text += R"(, "detect": ["true"])";
  if (!members.contains("\"tensors\"")) text += R"(, "tensors": [{"keep": ".*"}])";
  return text + (members.empty() ? "" : ", ") + members + "}";
}

/// What a table with these members makes of a source.
inline Result<FamilyResult> ApplyTable(const std::string& members, const TestSource& source) {
  const FamilyRegistry registry = Rules(TableOf("mine", members));
  const auto table = registry.Find("mine");
  if (table == nullptr) return Fail(ErrorCode::kInternal, "the table does not load");
  return ApplyFamily(*table, source.input);
}
/// With these lines alone.
inline Result<FamilyResult> ApplyLines(const std::string& lines, const TestSource& source,
                                       const std::string& members = {}) {
  return ApplyTable("\"tensors\": [" + lines + "]" + (members.empty() ? "" : ", ") + members, source);
}

}  // namespace weightfs::testing
