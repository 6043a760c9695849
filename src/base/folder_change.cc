#include "base/folder_change.h"

#include <filesystem>
#include <utility>

namespace ds {

Status FolderChange::Add(const std::string& path, std::string_view text) {
  DS_ASSIGN(AtomicFile file, AtomicFile::Create(path));
  DS_TRY(file.Write(text));
  files_.push_back(std::move(file));
  return {};
}

Status FolderChange::Commit() {
  for (AtomicFile& file : files_) DS_TRY(file.Sync());
  for (const std::string& path : removed_) {
    std::error_code error;
    std::filesystem::remove(path, error);
    if (error) return Error(Code::kIo, "{}: cannot remove: {}", path, error.message());
  }
  for (AtomicFile& file : files_) DS_TRY(file.Commit());
  return {};
}

}  // namespace ds
