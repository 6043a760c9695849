// A file of NumPy's .npy format (version 1.0) with one row of fp32, written as it is computed. It
// appears whole or not at all.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/file.h"

namespace ds::tool {

class NpyFile {
 public:
  // For `count` values; nothing is at `path` before Commit.
  static Result<NpyFile> Create(const std::string& path, int64_t count);

  Status Append(float value);
  // Fails when it was not `count` values that came.
  Status Commit();

 private:
  NpyFile(AtomicFile file, std::string path, int64_t count)
      : file_(std::move(file)), path_(std::move(path)), count_(count) {}
  Status Flush();

  AtomicFile file_;
  std::string path_;
  int64_t count_, written_ = 0;
  std::vector<float> pending_;
};

}  // namespace ds::tool
