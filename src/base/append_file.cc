#include "base/append_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/failpoint.h"

namespace ds {

Result<AppendFile> AppendFile::Open(const std::string& path) {
  DS_FAILPOINT("file.create");
  AppendFile file;
  file.path_ = path;
  file.fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  struct stat info;
  if (file.fd_ < 0 || ::fstat(file.fd_, &info) != 0) {
    return Error(Code::kIo, "{}: cannot open: {}", path, std::strerror(errno));
  }
  file.bytes_ = static_cast<int64_t>(info.st_size);
  return file;
}

AppendFile::AppendFile(AppendFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), bytes_(other.bytes_) {}

AppendFile::~AppendFile() {
  if (fd_ >= 0) ::close(fd_);
}

Status AppendFile::Append(std::string_view record) {
  DS_FAILPOINT("file.write");
  std::string_view rest = record;
  while (!rest.empty()) {
    const ssize_t written = ::write(fd_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      const int error = written < 0 ? errno : ENOSPC;
      // A part of a record would make what follows unreadable.
      if (rest.size() < record.size()) (void)!::ftruncate(fd_, bytes_);
      return Error(Code::kIo, "{}: cannot write: {}", path_, std::strerror(error));
    }
    rest.remove_prefix(static_cast<size_t>(written));
  }
  bytes_ += static_cast<int64_t>(record.size());
  return {};
}

}  // namespace ds
