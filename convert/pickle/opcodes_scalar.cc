// Opcodes of numbers, text and bytes in binary form.

#include <algorithm>
#include <bit>
#include <cstring>

#include "convert/pickle/machine.h"
#include "convert/pickle/text_codec.h"

namespace weightfs::pickle {

Status Machine::PushNone() { return Push(arena_.None(offset())); }
Status Machine::PushTrue() { return Push(arena_.Bool(true, offset())); }
Status Machine::PushFalse() { return Push(arena_.Bool(false, offset())); }

Status Machine::BinInt() {
  WEIGHTFS_TRY(const int32_t value, reader_.TakeInteger<int32_t>());
  return Push(arena_.Int(value, offset()));
}

Status Machine::BinInt1() {
  WEIGHTFS_TRY(const uint8_t value, reader_.TakeInteger<uint8_t>());
  return Push(arena_.Int(value, offset()));
}

Status Machine::BinInt2() {
  WEIGHTFS_TRY(const uint16_t value, reader_.TakeInteger<uint16_t>());
  return Push(arena_.Int(value, offset()));
}

Status Machine::Long1() {
  WEIGHTFS_TRY(const uint8_t size_bytes, reader_.TakeInteger<uint8_t>());
  return PushLong(size_bytes);
}

Status Machine::Long4() {
  WEIGHTFS_TRY(const int32_t size_bytes, reader_.TakeInteger<int32_t>());
  if (size_bytes < 0) return diagnostics_.Corrupt("an integer of negative size; expected 0 or more bytes");
  return PushLong(static_cast<uint64_t>(size_bytes));
}

Status Machine::PushLong(uint64_t size_bytes) {
  WEIGHTFS_TRY(std::string_view bytes, reader_.Take(size_bytes));
  bytes = ShortestTwosComplement(bytes);
  if (bytes.size() > sizeof(int64_t)) return Push(arena_.Text(Kind::kBigInt, bytes, offset()));
  const bool negative = !bytes.empty() && static_cast<signed char>(bytes.back()) < 0;
  int64_t value = negative ? -1 : 0;
  if (!bytes.empty()) std::memcpy(&value, bytes.data(), bytes.size());
  return Push(arena_.Int(value, offset()));
}

Status Machine::BinFloat() {
  WEIGHTFS_TRY(const uint64_t bits, reader_.TakeInteger<uint64_t>());
  return Push(arena_.Float(std::bit_cast<double>(std::byteswap(bits)), offset()));
}

Status Machine::PushUnicode(std::string_view text) {
  if (!IsUtf8(text, Surrogates::kPass))
    return diagnostics_.Corrupt("text that is not UTF-8; expected UTF-8, or surrogates of 3 bytes");
  return Push(arena_.Text(Kind::kString, text, offset()));
}

Status Machine::PushByteString(std::string_view bytes) {
  // torch reads the byte strings of Python 2 as UTF-8 text; what is not text stays bytes.
  const Kind kind = IsUtf8(bytes, Surrogates::kRefuse) ? Kind::kString : Kind::kBytes;
  return Push(arena_.Text(kind, bytes, offset()));
}

Status Machine::PushText(Kind kind, uint64_t size_bytes) {
  WEIGHTFS_TRY(const std::string_view bytes, reader_.Take(size_bytes));
  return kind == Kind::kString ? PushUnicode(bytes) : Push(arena_.Text(kind, bytes, offset()));
}

Status Machine::ShortBinString() {
  WEIGHTFS_TRY(const uint8_t size_bytes, reader_.TakeInteger<uint8_t>());
  WEIGHTFS_TRY(const std::string_view bytes, reader_.Take(size_bytes));
  return PushByteString(bytes);
}

Status Machine::BinString() {
  WEIGHTFS_TRY(const int32_t size_bytes, reader_.TakeInteger<int32_t>());
  if (size_bytes < 0) return diagnostics_.Corrupt("a string of negative size; expected 0 or more bytes");
  WEIGHTFS_TRY(const std::string_view bytes, reader_.Take(static_cast<uint64_t>(size_bytes)));
  return PushByteString(bytes);
}

Status Machine::ShortBinUnicode() {
  WEIGHTFS_TRY(const uint8_t size_bytes, reader_.TakeInteger<uint8_t>());
  return PushText(Kind::kString, size_bytes);
}

Status Machine::BinUnicode() {
  WEIGHTFS_TRY(const uint32_t size_bytes, reader_.TakeInteger<uint32_t>());
  return PushText(Kind::kString, size_bytes);
}

Status Machine::BinUnicode8() {
  WEIGHTFS_TRY(const uint64_t size_bytes, reader_.TakeInteger<uint64_t>());
  return PushText(Kind::kString, size_bytes);
}

Status Machine::ShortBinBytes() {
  WEIGHTFS_TRY(const uint8_t size_bytes, reader_.TakeInteger<uint8_t>());
  return PushText(Kind::kBytes, size_bytes);
}

Status Machine::BinBytes() {
  WEIGHTFS_TRY(const uint32_t size_bytes, reader_.TakeInteger<uint32_t>());
  return PushText(Kind::kBytes, size_bytes);
}

Status Machine::BinBytes8() {
  WEIGHTFS_TRY(const uint64_t size_bytes, reader_.TakeInteger<uint64_t>());
  return PushText(Kind::kBytes, size_bytes);
}

}  // namespace weightfs::pickle
