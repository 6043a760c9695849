// A text file as tokens: each byte is one (vocabulary 256). Mapped, not read; cut into a part for
// training and a part for validation.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/file.h"
#include "base/status.h"

namespace ds::data {

class ByteTokens {
 public:
  static constexpr int64_t kVocab = 256;

  // `window` is tokens + 1: a sequence and the token after it. Validation is the last tenth of the
  // file, and at least one window; training is what is before it, at least one window too.
  static Result<ByteTokens> Open(const std::string& path, int64_t window);

  std::span<const uint8_t> all() const {
    return {reinterpret_cast<const uint8_t*>(file_.bytes().data()), file_.bytes().size()};
  }
  std::span<const uint8_t> train() const { return all().first(train_bytes_); }
  std::span<const uint8_t> validation() const { return all().subspan(train_bytes_); }
  const std::string& path() const { return file_.path(); }

 private:
  ByteTokens(MappedFile file, size_t train_bytes)
      : file_(std::move(file)), train_bytes_(train_bytes) {}

  MappedFile file_;
  size_t train_bytes_;
};

// Of the bytes one by one, in nats a byte: the loss of the best model that knows no context.
double UnigramEntropy(std::span<const uint8_t> text);

}  // namespace ds::data
