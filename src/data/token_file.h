// Files of token ids that other programs wrote: llm.c (a header, then ids), nanoGPT (uint16 ids and
// nothing else), Megatron (ids, and an index in a file beside them). Mapped, not read.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/file.h"
#include "base/status.h"
#include "data/tokens.h"

namespace ds::data {

class TokenFile {
 public:
  // By content: NAME.bin with NAME.idx beside it is Megatron's, one that begins with the number of
  // llm.c is that, and any other is nanoGPT's. Either of the two names of Megatron will do.
  static Result<TokenFile> Open(const std::string& path);

  const char* format() const { return format_; }
  const std::string& path() const { return file_.path(); }
  TokenSpan tokens() const { return {file_.bytes().data() + offset_, count_, width_}; }

 private:
  TokenFile(MappedFile file, const char* format, size_t offset, size_t count, size_t width)
      : file_(std::move(file)), format_(format), offset_(offset), count_(count), width_(width) {}
  static Result<TokenFile> OpenMegatron(const std::string& index, const std::string& ids);

  MappedFile file_;
  const char* format_;
  size_t offset_, count_, width_;
};

// What an index says of the file of ids, every bound checked: sequences that lie one behind the
// other from the first byte of the file to its last.
struct MegatronIndex {
  size_t width = 0;
  size_t tokens = 0;
};
Result<MegatronIndex> ParseMegatronIndex(std::span<const std::byte> index, size_t id_bytes,
                                         std::string_view what);

// Fails at the first id that a vocabulary of this size does not have; `what` names the text.
Status CheckIds(TokenSpan tokens, int64_t vocab, std::string_view what);

}  // namespace ds::data
