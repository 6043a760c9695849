// CRC-32C (Castagnoli et al. 1993): the checksum of TFRecord files. For a few bytes at a time.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace ds {

constexpr std::array<uint32_t, 256> MakeCrc32cTable() {
  std::array<uint32_t, 256> table = {};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0x82F63B78u : 0u);
    table[i] = value;
  }
  return table;
}
inline constexpr std::array<uint32_t, 256> kCrc32cTable = MakeCrc32cTable();

constexpr uint32_t Crc32c(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char c : bytes) {
    crc = (crc >> 8) ^ kCrc32cTable[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  }
  return ~crc;
}

static_assert(Crc32c("123456789") == 0xE3069283u);  // the check value of RFC 3720

}  // namespace ds
