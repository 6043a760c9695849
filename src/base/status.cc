#include "base/status.h"

#include "base/utf8.h"

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
  while (!message.empty()) {
    const CodePoint c = ReadUtf8(message, 0);
    if (c.value == '\n' || c.value == '\t') {
      line += c.value == '\n' ? "\\n" : "\\t";
    } else if (c.value < 0x20 || c.value == 0x7F || c.value == kNotUtf8) {
      line += fmt::format("\\x{:02x}", static_cast<unsigned char>(message[0]));
    } else {
      line += message.substr(0, c.bytes);
    }
    message.remove_prefix(c.bytes);
  }
  return line;
}

}  // namespace ds
