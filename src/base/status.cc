#include "base/status.h"

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

std::string OneLine(std::string_view message) {
  std::string line;
  for (const char c : message) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n' || c == '\t') {
      line += c == '\n' ? "\\n" : "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      line += fmt::format("\\x{:02x}", byte);
    } else {
      line += c;
    }
  }
  return line;
}

}  // namespace ds
