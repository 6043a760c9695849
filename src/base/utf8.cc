#include "base/utf8.h"

#include <algorithm>
#include <cstring>

namespace ds {
namespace {

bool IsContinuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

// How long a sequence with this first byte is, 0 for a byte that begins none.
size_t LengthOf(unsigned char first) {
  if (first < 0x80) return 1;
  if (first < 0xC2) return 0;
  if (first < 0xE0) return 2;
  if (first < 0xF0) return 3;
  return first < 0xF5 ? 4 : 0;
}

// Whether the second byte may follow the first: keeps out overlong forms, surrogates and what is
// too large.
bool SecondFits(unsigned char first, unsigned char second) {
  switch (first) {
    case 0xE0:
      return second >= 0xA0 && second < 0xC0;
    case 0xED:
      return second >= 0x80 && second < 0xA0;
    case 0xF0:
      return second >= 0x90 && second < 0xC0;
    case 0xF4:
      return second >= 0x80 && second < 0x90;
    default:
      return IsContinuation(second);
  }
}

// Bytes of the sequence at `at` that are as they must be; `whole` when it is all of it.
size_t Prefix(std::string_view text, size_t at, bool& whole) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const size_t length = LengthOf(byte(0));
  whole = length == 1;
  if (length <= 1) return 1;
  const size_t there = std::min(length, text.size() - at);
  if (there < 2 || !SecondFits(byte(0), byte(1))) return 1;
  size_t good = 2;
  while (good < there && IsContinuation(byte(good))) ++good;
  whole = good == length;
  return good;
}

}  // namespace

CodePoint ReadUtf8(std::string_view text, size_t at) {
  const auto first = static_cast<unsigned char>(text[at]);
  if (first < 0x80) return {first, 1};
  bool whole = false;
  const size_t length = Prefix(text, at, whole);
  if (!whole) return {kNotUtf8, 1};
  uint32_t value = first & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) {
    value = value << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3Fu);
  }
  return {value, length};
}

CodePoint ReadUtf8Before(std::string_view text, size_t end) {
  for (size_t length = 1; length <= std::min<size_t>(4, end); ++length) {
    const CodePoint c = ReadUtf8(text.substr(0, end), end - length);
    if (c.bytes == length && c.value != kNotUtf8) return c;
  }
  return {kNotUtf8, 1};
}

void AppendUtf8(uint32_t code_point, std::string& out) {
  const auto put = [&out](uint32_t byte) { out += static_cast<char>(byte); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

Status CheckUtf8(std::string_view text, std::string_view what) {
  for (size_t at = 0; at < text.size();) {
    uint64_t eight = ~uint64_t{0};
    if (at + sizeof eight <= text.size()) std::memcpy(&eight, text.data() + at, sizeof eight);
    if ((eight & 0x8080808080808080u) == 0) {  // all of them ASCII
      at += sizeof eight;
      continue;
    }
    const CodePoint c = ReadUtf8(text, at);
    if (c.value == kNotUtf8) {
      return Error(Code::kCorruptData, "{}: byte {} is 0x{:02x}, which is not UTF-8", what, at,
                   static_cast<unsigned char>(text[at]));
    }
    at += c.bytes;
  }
  return {};
}

std::string LossyUtf8(std::string_view bytes) {
  std::string out;
  for (size_t at = 0; at < bytes.size();) {
    bool whole = false;
    const size_t length = Prefix(bytes, at, whole);
    out += whole ? bytes.substr(at, length) : std::string_view("\xEF\xBF\xBD");
    at += length;
  }
  return out;
}

}  // namespace ds
