// The lines of standard input, by a reader that an interrupt ends while it waits.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"

namespace ds::tool {

class LineReader {
 public:
  // The next line, without its end; false where there is none, and where an interrupt came first.
  Result<bool> Next(std::string& line);
  // Of the last one, from 1.
  int64_t number() const { return number_; }

 private:
  // More of the input, or the end of it.
  Status Fill();

  std::string held_;
  size_t at_ = 0;  // where the next line begins in it
  int64_t number_ = 0;
  bool ended_ = false;
};

}  // namespace ds::tool
