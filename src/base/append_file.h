// A file that grows by whole records, as a log does. Not for what is to appear as a whole
// (base/file.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace ds {

class AppendFile {
 public:
  // Makes the file where there is none, else goes on at its end.
  static Result<AppendFile> Open(const std::string& path);
  AppendFile(AppendFile&& other) noexcept;
  AppendFile& operator=(AppendFile&&) = delete;
  ~AppendFile();

  // All of the record is in the file afterwards, or, with an error, none of it.
  Status Append(std::string_view record);

  int64_t bytes() const { return bytes_; }
  const std::string& path() const { return path_; }

 private:
  AppendFile() = default;

  std::string path_;
  int fd_ = -1;
  int64_t bytes_ = 0;
};

}  // namespace ds
