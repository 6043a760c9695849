#include "token/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "base/utf8.h"

namespace ds::token {
namespace {

// The bytes that stand for themselves in the alphabet; the others are U+0100 and on, in turn.
constexpr bool StandsForItself(unsigned byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

constexpr std::array<uint16_t, 256> kAlphabet = [] {
  std::array<uint16_t, 256> alphabet = {};
  uint16_t next = 256;
  for (unsigned byte = 0; byte < 256; ++byte) {
    alphabet[byte] = StandsForItself(byte) ? static_cast<uint16_t>(byte) : next++;
  }
  return alphabet;
}();

}  // namespace

bool FromByteAlphabet(std::string_view token, std::string& bytes) {
  static constexpr std::array<int16_t, 324> kBytes = [] {
    std::array<int16_t, 324> byte_of = {};
    byte_of.fill(-1);
    for (int byte = 0; byte < 256; ++byte) byte_of[kAlphabet[byte]] = static_cast<int16_t>(byte);
    return byte_of;
  }();
  bytes.clear();
  for (size_t at = 0; at < token.size();) {
    const CodePoint c = ReadUtf8(token, at);
    if (c.value >= kBytes.size() || kBytes[c.value] < 0) return false;
    bytes += static_cast<char>(kBytes[c.value]);
    at += c.bytes;
  }
  return true;
}

std::string ToByteAlphabet(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) AppendUtf8(kAlphabet[static_cast<unsigned char>(byte)], text);
  return text;
}

}  // namespace ds::token
