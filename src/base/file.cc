#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/failpoint.h"

namespace ds {
namespace {

Status IoError(const std::string& path, const char* doing, int error) {
  const Code code = error == ENOENT ? Code::kNotFound : Code::kIo;
  return Error(code, "{}: {}: {}", path, doing, std::strerror(error));
}

// A rename is durable only when the directory that holds the name is.
Status SyncParent(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  const std::string parent = folder.empty() ? "." : folder.string();
  const int fd = ::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return IoError(parent, "cannot open the folder", errno);
  const int error = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  // Some file systems cannot sync a folder and say EINVAL; the rename stands all the same.
  if (error != 0 && error != EINVAL) return IoError(parent, "cannot sync the folder", error);
  return {};
}

}  // namespace

Result<MappedFile> MappedFile::Open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return IoError(path, "cannot open", errno);
  struct stat info;
  const int stat_error = ::fstat(fd, &info) == 0 ? 0 : errno;
  if (stat_error != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    if (stat_error != 0) return IoError(path, "cannot stat", stat_error);
    return Error(Code::kIo, "{}: is {}, expected a file", path,
                 S_ISDIR(info.st_mode) ? "a directory" : "no regular file");
  }
  MappedFile file;
  file.path_ = path;
  file.size_ = static_cast<size_t>(info.st_size);
  if (file.size_ > 0) {  // an empty mapping is an error to mmap, but an empty file is not
    void* data = ::mmap(nullptr, file.size_, PROT_READ, MAP_PRIVATE, fd, 0);
    const int error = errno;
    if (data == MAP_FAILED) {
      ::close(fd);
      return IoError(path, "cannot map", error);
    }
    file.data_ = static_cast<const std::byte*>(data);
  }
  ::close(fd);
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this != &other) {
    Unmap();
    path_ = std::move(other.path_);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

MappedFile::~MappedFile() { Unmap(); }

void MappedFile::Forget(std::span<const std::byte> part) const {
  if (part.empty() || part.data() < data_ || part.data() + part.size() > data_ + size_) return;
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t begin = static_cast<size_t>(part.data() - data_) / page * page;
  const size_t end = static_cast<size_t>(part.data() - data_) + part.size();
  (void)::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

void MappedFile::Unmap() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

Result<AtomicFile> AtomicFile::Create(const std::string& path) {
  static std::atomic<int> counter = 0;
  DS_FAILPOINT("file.create");
  // The rename would put a file in place of a device, which root may do.
  struct stat info;
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    return Error(Code::kIo, "{}: is {}, expected a file, or nothing", path,
                 S_ISDIR(info.st_mode) ? "a directory" : "no regular file");
  }
  AtomicFile file;
  file.path_ = path;
  file.temporary_ = fmt::format("{}.tmp.{}.{}", path, ::getpid(), counter++);
  file.fd_ = ::open(file.temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file.fd_ < 0) return IoError(path, "cannot create", errno);
  return file;
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      fd_(std::exchange(other.fd_, -1)) {
  other.temporary_.clear();
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Status AtomicFile::Write(std::span<const std::byte> bytes) {
  DS_FAILPOINT("file.write");
  while (!bytes.empty()) {
    // Linux moves at most 2 GiB less a page in one call.
    const size_t piece = std::min(bytes.size(), size_t{1} << 30);
    const ssize_t written = ::write(fd_, bytes.data(), piece);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return IoError(path_, "cannot write", errno);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

Status AtomicFile::WriteAt(int64_t offset, std::span<const std::byte> bytes) {
  DS_FAILPOINT("file.write");
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd_, bytes.data(), bytes.size(), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return IoError(path_, "cannot write", errno);
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += written;
  }
  return {};
}

Status AtomicFile::Sync() {
  if (fd_ < 0) return {};
  DS_FAILPOINT("file.commit");
  if (::fsync(fd_) != 0) return IoError(path_, "cannot sync", errno);
  if (::close(std::exchange(fd_, -1)) != 0) return IoError(path_, "cannot close", errno);
  return {};
}

Status AtomicFile::Commit() {
  DS_TRY(Sync());
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return IoError(path_, "cannot replace", errno);
  }
  temporary_.clear();
  return SyncParent(path_);
}

Status WriteFileAtomic(const std::string& path, std::string_view text) {
  DS_ASSIGN(AtomicFile file, AtomicFile::Create(path));
  DS_TRY(file.Write(text));
  return file.Commit();
}

Result<std::string> ReadFile(const std::string& path, int64_t max_bytes) {
  DS_ASSIGN(const MappedFile file, MappedFile::Open(path));
  const auto bytes = file.bytes();
  if (static_cast<int64_t>(bytes.size()) > max_bytes) {
    return Error(Code::kIo, "{}: {} bytes, at most {} are read", path, bytes.size(), max_bytes);
  }
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

Status MakeDirectories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) {
    std::error_code none;
    const auto target = std::filesystem::read_symlink(path, none);
    return Error(
        Code::kIo, "{}: cannot make the folder: {}", path,
        none ? error.message() : fmt::format("it is a link to {}, which is none", target.string()));
  }
  return {};
}

std::string AbsolutePath(const std::string& path) {
  std::error_code error;
  std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) return path;
  // Behind a link ".." is not what is before it in the path.
  if (std::find(absolute.begin(), absolute.end(), "..") != absolute.end()) {
    absolute = std::filesystem::weakly_canonical(absolute, error);
  }
  return error ? path : absolute.lexically_normal().string();
}

}  // namespace ds
