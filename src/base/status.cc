#include "base/status.h"

#include <algorithm>

namespace ds {

const char* CodeName(Code code) {
  switch (code) {
    case Code::kOk:
      return "ok";
    case Code::kInvalidArgument:
      return "invalid argument";
    case Code::kInvalidState:
      return "invalid state";
    case Code::kUnsupported:
      return "unsupported";
    case Code::kNotFound:
      return "not found";
    case Code::kConfig:
      return "config";
    case Code::kOutOfMemory:
      return "out of memory";
    case Code::kIo:
      return "i/o";
    case Code::kCorruptData:
      return "corrupt data";
    case Code::kTimeout:
      return "timeout";
    case Code::kCancelled:
      return "cancelled";
    case Code::kComm:
      return "communication";
    case Code::kRankLost:
      return "rank lost";
    case Code::kRankMismatch:
      return "rank mismatch";
    case Code::kEnginePoisoned:
      return "engine poisoned";
    case Code::kCallback:
      return "callback";
    case Code::kInternal:
      return "internal";
  }
  return "unknown status";
}

namespace {

// Bytes of the character that the text begins with; 0 where it begins with none
// (Unicode 15, table 3-7, "Well-Formed UTF-8 Byte Sequences").
size_t Utf8Length(std::string_view text) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const unsigned first = byte(0), second = byte(1);
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4) return 0;
  const size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  // Overlong ones, surrogates, and what is beyond U+10FFFF.
  const unsigned least = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const unsigned most = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (second < least || second > most) return 0;
  for (size_t i = 2; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  return length;
}

}  // namespace

std::string OneLine(std::string_view message) {
  std::string line;
  for (size_t length = 1; !message.empty(); message.remove_prefix(length)) {
    const char c = message[0];
    const auto byte = static_cast<unsigned char>(c);
    length = std::max<size_t>(1, Utf8Length(message));
    if (c == '\n' || c == '\t') {
      line += c == '\n' ? "\\n" : "\\t";
    } else if (byte < 0x20 || byte == 0x7F || (byte >= 0x80 && length == 1)) {
      line += fmt::format("\\x{:02x}", byte);
    } else {
      line += message.substr(0, length);
    }
  }
  return line;
}

}  // namespace ds
