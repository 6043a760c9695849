// Whole files: mapped to read, replaced atomically to write. Not for asynchronous or partial I/O.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace ds {

// A regular file, read-only in memory. Moves, does not copy. Whoever truncates the file while it
// is mapped kills the reader (SIGBUS); nothing here can prevent that.
class MappedFile {
 public:
  static Result<MappedFile> Open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }
  // Gives back the memory behind a part of it, which is read anew where it is touched again. What
  // lies elsewhere is left alone.
  void Forget(std::span<const std::byte> part) const;

 private:
  MappedFile() = default;
  void Unmap();

  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// A file that appears at `path` whole, or not at all: written beside it under a temporary name,
// synced, renamed over it. Destroyed before Commit, it leaves what was there.
class AtomicFile {
 public:
  static Result<AtomicFile> Create(const std::string& path);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  Status Write(std::span<const std::byte> bytes);
  Status Write(std::string_view text) { return Write(std::as_bytes(std::span(text))); }
  // Over what was written before.
  Status WriteAt(int64_t offset, std::span<const std::byte> bytes);
  // All of it is on the disk, still under the temporary name: what can fail for its bytes is
  // behind.
  Status Sync();
  // Renames it, synced if it is not yet. After a failure of any of these the file can only be
  // destroyed.
  Status Commit();
  // Where it lies until then.
  const std::string& temporary() const { return temporary_; }

 private:
  AtomicFile() = default;

  std::string path_, temporary_;
  int fd_ = -1;
};

Status WriteFileAtomic(const std::string& path, std::string_view text);
// Refuses a file of more than `max_bytes`.
Result<std::string> ReadFile(const std::string& path, int64_t max_bytes = int64_t{64} << 20);
// With parents; one that exists already is fine.
Status MakeDirectories(const std::string& path);
// From the root on: what means the same in another working directory. A path with ".." has its
// links followed; one that cannot be resolved stays as it is.
std::string AbsolutePath(const std::string& path);

}  // namespace ds
