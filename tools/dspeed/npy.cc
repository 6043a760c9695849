#include "npy.h"

#include <bit>
#include <utility>

namespace ds::tool {
namespace {

constexpr size_t kPending = 1 << 16;
static_assert(std::endian::native == std::endian::little);  // the header says '<f4'

std::string Header(int64_t count) {
  std::string text =
      fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({},), }}", count);
  constexpr size_t kBefore = 10;  // magic, version, length
  while ((kBefore + text.size() + 1) % 64 != 0) text += ' ';
  text += '\n';
  std::string header("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(text.size() & 0xff);
  header += static_cast<char>(text.size() >> 8);
  return header + text;
}

}  // namespace

Result<NpyFile> NpyFile::Create(const std::string& path, int64_t count) {
  DS_ASSIGN(AtomicFile file, AtomicFile::Create(path));
  DS_TRY(file.Write(Header(count)));
  return NpyFile(std::move(file), path, count);
}

Status NpyFile::Append(float value) {
  pending_.push_back(value);
  return pending_.size() < kPending ? Status() : Flush();
}

Status NpyFile::Flush() {
  DS_TRY(file_.Write(std::as_bytes(std::span(pending_))));
  written_ += static_cast<int64_t>(pending_.size());
  pending_.clear();
  return {};
}

Status NpyFile::Commit() {
  DS_TRY(Flush());
  if (written_ != count_) {
    return Error(Code::kInternal, "{}: {} values written, {} announced", path_, written_, count_);
  }
  return file_.Commit();
}

}  // namespace ds::tool
