/// \file
/// Writes pickle streams, opcode by opcode: for tests, and independent of the unpickler.
///
/// A value is the text of its opcodes, so values nest by concatenation: `Dict({{Text("w"), Int(1)}})`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weightfs::testing {

using PickledValue = std::string;
using PickledPairs = std::vector<std::pair<PickledValue, PickledValue>>;

inline std::string LittleEndian(uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i) & 0xFF);
  return text;
}

inline PickledValue PickleNone() { return "N"; }
inline PickledValue PickleBool(bool value) { return value ? "\x88" : "\x89"; }
/// LONG1 of 8 bytes: holds every int64.
inline PickledValue PickleInt(int64_t value) {
  return "\x8A\x08" + LittleEndian(static_cast<uint64_t>(value), 8);
}
inline PickledValue PickleText(std::string_view text) {
  return "X" + LittleEndian(text.size(), 4) + std::string(text);
}
inline PickledValue PickleGlobal(std::string_view module, std::string_view name) {
  return "c" + std::string(module) + "\n" + std::string(name) + "\n";
}
inline PickledValue PickleTuple(const std::vector<PickledValue>& items) {
  std::string text = "(";
  for (const PickledValue& item : items) text += item;
  return text + "t";
}
inline PickledValue PickleList(const std::vector<PickledValue>& items) {
  std::string text = "](";
  for (const PickledValue& item : items) text += item;
  return text + "e";
}
inline PickledValue PickleDict(const PickledPairs& pairs) {
  std::string text = "}(";
  for (const auto& [key, value] : pairs) text += key + value;
  return text + "u";
}
inline PickledValue PickleCall(const PickledValue& callable, const std::vector<PickledValue>& arguments) {
  return callable + PickleTuple(arguments) + "R";
}
inline PickledValue PickleNew(const PickledValue& type, const std::vector<PickledValue>& arguments) {
  return type + PickleTuple(arguments) + "\x81";
}
inline PickledValue PickleBuild(const PickledValue& object, const PickledValue& state) {
  return object + state + "b";
}
inline PickledValue PicklePersistent(const PickledValue& id) { return id + "Q"; }
/// Keeps the value under `index` of the memo; `PickleGet` is the same value again.
inline PickledValue PicklePut(const PickledValue& value, uint32_t index) {
  return value + "r" + LittleEndian(index, 4);
}
inline PickledValue PickleGet(uint32_t index) { return "j" + LittleEndian(index, 4); }
inline std::string PickleStream(const PickledValue& value) { return "\x80\x02" + value + "."; }

inline PickledValue PickleNumbers(const std::vector<int64_t>& numbers) {
  std::vector<PickledValue> items;
  for (const int64_t number : numbers) items.push_back(PickleInt(number));
  return PickleTuple(items);
}

}  // namespace weightfs::testing
