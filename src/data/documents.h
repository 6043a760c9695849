// Texts one by one, from a file, a folder of files, or a file with a JSON object a line. Knows
// nothing of tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/status.h"

namespace ds::data {

enum class TextFormat : uint8_t { kText, kFolder, kJsonLines, kChat };

// A message of a conversation.
struct Turn {
  std::string role, content;
  bool learned = true;  // of an answer
};

struct Document {
  std::string_view text;
  std::vector<Turn> turns;            // kChat, and then there is no text
  std::string what;                   // for messages: a file, and a line of it
  std::shared_ptr<const void> owner;  // of the text
};

class Documents {
 public:
  // `field` is the key of the text in a line (kJsonLines); a conversation is `messages`, a list of
  // objects with role and content. Files of a folder come in the order of their paths, without
  // those whose name begins with a dot.
  static Result<Documents> Open(const std::string& path, TextFormat format, std::string field);

  // The next one; false at the end.
  Result<bool> Next(Document& document);
  // Back to the first.
  void Rewind();

  // As it was opened.
  const std::string& path() const { return path_; }
  // Whether there may be more than one text.
  bool several() const { return format_ != TextFormat::kText; }
  // Of all files, and of what Next() has gone through.
  int64_t bytes() const { return bytes_; }
  int64_t bytes_done() const { return done_; }

 private:
  Documents(std::string path, TextFormat format, std::string field)
      : path_(std::move(path)), format_(format), field_(std::move(field)) {}
  Result<bool> NextLine(Document& document);

  std::string path_;
  TextFormat format_;
  std::string field_;
  std::vector<std::string> paths_;
  int64_t bytes_ = 0, done_ = 0;
  size_t file_ = 0;                        // the next one to be mapped
  std::shared_ptr<const MappedFile> map_;  // kJsonLines, kChat
  size_t at_ = 0, line_ = 0;               // in the map
};

// The text or the turns of a line, into `document`.
Status ParseJsonLine(std::string_view line, TextFormat format, const std::string& field,
                     Document& document);

}  // namespace ds::data
