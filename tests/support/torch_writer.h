/// \file
/// Writes small checkpoints as torch.save does, in its three containers: for tests, and independent of the
/// readers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/pickle_writer.h"
#include "tests/support/zip_writer.h"

namespace weightfs::testing {

inline PickledValue TorchStorageId(std::string_view storage_class, std::string_view key, int64_t count,
                                   std::string_view location = "cpu") {
  return PicklePersistent(PickleTuple({PickleText("storage"), PickleGlobal("torch", storage_class),
                                       PickleText(key), PickleText(location), PickleInt(count)}));
}

/// A storage of a legacy file; `view` is None or (key, offset, count).
inline PickledValue TorchLegacyStorageId(std::string_view storage_class, std::string_view key, int64_t count,
                                         const PickledValue& view = PickleNone()) {
  return PicklePersistent(PickleTuple({PickleText("storage"), PickleGlobal("torch", storage_class),
                                       PickleText(key), PickleText("cpu"), PickleInt(count), view}));
}

inline PickledValue EmptyOrderedDict() { return PickleCall(PickleGlobal("collections", "OrderedDict"), {}); }

inline PickledValue TorchTensor(const PickledValue& storage, int64_t offset,
                                const std::vector<int64_t>& shape, const std::vector<int64_t>& strides) {
  return PickleCall(PickleGlobal("torch._utils", "_rebuild_tensor_v2"),
                    {storage, PickleInt(offset), PickleNumbers(shape), PickleNumbers(strides),
                     PickleBool(false), EmptyOrderedDict()});
}

/// A float32 vector of `count` elements over the whole storage `key`.
inline PickledValue TorchVector(std::string_view key, int64_t count) {
  return TorchTensor(TorchStorageId("FloatStorage", key, count), 0, {count}, {1});
}

using NamedBytes = std::vector<std::pair<std::string, std::string>>;

/// A zip checkpoint: `object` as data.pkl and the storages as data/KEY.
inline std::string TorchZip(const PickledValue& object, const NamedBytes& storages, NamedBytes more = {},
                            bool deflated = false) {
  ZipWriter zip;
  zip.Add({.name = "archive/data.pkl", .content = PickleStream(object), .deflated = deflated});
  for (const auto& [name, content] : more) zip.Add({.name = "archive/" + name, .content = content});
  for (const auto& [key, content] : storages)
    zip.Add({.name = "archive/data/" + key, .content = content, .deflated = deflated, .padding_bytes = 13});
  zip.Add({.name = "archive/version", .content = "3\n"});
  return zip.Finish();
}

inline PickledValue TorchMagic() {
  return "\x8A\x0A" + std::string("\x6C\xFC\x9C\x46\xF9\x20\x6A\xA8\x50\x19", 10);
}

/// The three pickles that a legacy file begins with.
inline std::string TorchLegacyPreamble() {
  return PickleStream(TorchMagic()) + PickleStream(PickleInt(1001)) +
         PickleStream(
             PickleDict({{PickleText("protocol_version"), PickleInt(1001)},
                         {PickleText("little_endian"), PickleBool(true)},
                         {PickleText("type_sizes"), PickleDict({{PickleText("int"), PickleInt(4)}})}}));
}

/// A legacy checkpoint of storages whose elements take `element_bytes`, in the order of its key list.
inline std::string TorchLegacy(const PickledValue& object, const NamedBytes& storages,
                               size_t element_bytes = 4) {
  std::vector<PickledValue> keys;
  std::string data;
  for (const auto& [key, content] : storages) {
    keys.push_back(PickleText(key));
    data += LittleEndian(content.size() / element_bytes, 8) + content;
  }
  return TorchLegacyPreamble() + PickleStream(object) + PickleStream(PickleList(keys)) + data;
}

/// One tar header, and the content padded to whole blocks.
inline std::string TarMemberBytes(std::string_view name, std::string_view content, char type = '0') {
  std::string header(512, '\0');
  const auto put = [&](size_t at, std::string_view text) { header.replace(at, text.size(), text); };
  const auto octal = [](uint64_t value, int digits) {
    std::string text(static_cast<size_t>(digits), '0');
    for (size_t i = text.size(); i-- > 0; value >>= 3) text[i] = static_cast<char>('0' + (value & 7));
    return text;
  };
  put(0, name);
  put(100, "0000644");
  put(124, octal(content.size(), 11));
  put(148, "        ");
  header[156] = type;
  put(257, std::string_view("ustar\0"
                            "00",
                            8));
  uint64_t sum = 0;
  for (const char c : header) sum += static_cast<uint8_t>(c);
  put(148, octal(sum, 6) + std::string("\0 ", 2));
  return header + std::string(content) + std::string((512 - content.size() % 512) % 512, '\0');
}

inline std::string TarArchive(const NamedBytes& members) {
  std::string out;
  for (const auto& [name, content] : members) out += TarMemberBytes(name, content);
  return out + std::string(1024, '\0');
}

/// The member `storages` of a tar checkpoint with one storage.
inline std::string TarStorages(int64_t key, std::string_view storage_class, std::string_view content,
                               size_t element_bytes, const PickledValue& views = PickleList({})) {
  return PickleStream(PickleInt(1)) +
         PickleStream(
             PickleTuple({PickleInt(key), PickleText("cpu"), PickleGlobal("torch", storage_class)})) +
         LittleEndian(content.size() / element_bytes, 8) + std::string(content) + PickleStream(views);
}

/// The member `tensors` of a tar checkpoint with one tensor.
inline std::string TarTensors(int64_t key, int64_t storage_key, const std::vector<int64_t>& shape,
                              const std::vector<int64_t>& strides, int64_t offset) {
  std::string out = PickleStream(PickleInt(1)) +
                    PickleStream(PickleTuple(
                        {PickleInt(key), PickleInt(storage_key), PickleGlobal("torch", "FloatTensor")})) +
                    LittleEndian(shape.size(), 8);
  for (const auto& numbers : {shape, strides})
    for (const int64_t number : numbers) out += LittleEndian(static_cast<uint64_t>(number), 8);
  return out + LittleEndian(static_cast<uint64_t>(offset), 8);
}

}  // namespace weightfs::testing
