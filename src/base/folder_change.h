// Several files that come in place of others together. All are written and synced under temporary
// names first; then what goes is removed, and the new ones are renamed, in their order. A full
// disk, and every failure but that of a removal or a rename, leaves what was there.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"

namespace ds {

class FolderChange {
 public:
  // The file at `path` with this text.
  Status Add(const std::string& path, std::string_view text);
  // One of which all is written.
  void Add(AtomicFile file) { files_.push_back(std::move(file)); }
  // What is at `path`, if it is; also where a file is added in its place: it is gone before any.
  void Remove(std::string path) { removed_.push_back(std::move(path)); }
  // After a failure it can only be destroyed.
  Status Commit();

 private:
  std::vector<AtomicFile> files_;
  std::vector<std::string> removed_;
};

}  // namespace ds
