// The safetensors format: named arrays in one file, a JSON header before their bytes
// (https://huggingface.co/docs/safetensors). What a tensor means to a model is not known here.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/status.h"
#include "tensor/dtype.h"

namespace ds::checkpoint {

struct TensorInfo {
  std::string name;
  std::string dtype;  // as the file spells it: "F32", "BF16", "F16", "I64", "I32", "U8", ...
  std::vector<int64_t> shape;  // {} is a scalar
};

// As a file spells it.
const char* SafetensorsDType(DType dtype);
// Bytes of one element, 0 for a dtype we do not know.
int64_t SafetensorsDTypeBytes(std::string_view dtype);
// "[2, 3]"
std::string ShapeText(std::span<const int64_t> shape);

struct TensorView : TensorInfo {
  std::span<const std::byte> bytes;  // in the mapping; not necessarily aligned
  int64_t numel() const {
    return static_cast<int64_t>(bytes.size()) / SafetensorsDTypeBytes(dtype);
  }
};

// Every bound of the header is checked before a view is given out: lengths, dtypes, offsets
// without holes or overlap, products of shapes. A broken file is kCorruptData.
class SafetensorsReader {
 public:
  static Result<SafetensorsReader> Open(const std::string& path);
  // Over bytes that outlive the reader; `what` names them in errors.
  static Result<SafetensorsReader> Parse(std::span<const std::byte> bytes, std::string_view what);

  const std::vector<TensorView>& tensors() const {
    return tensors_;
  }                                                     // in the order of their bytes
  const TensorView* Find(std::string_view name) const;  // null: not in the file
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // As MappedFile::Forget().
  void Forget(const TensorView& tensor) const {
    if (file_.has_value()) file_->Forget(tensor.bytes);
  }

 private:
  SafetensorsReader() = default;
  Status ReadHeader(const Json& header, std::span<const std::byte> data);

  std::optional<MappedFile> file_;  // none when parsed from bytes
  std::vector<TensorView> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
  std::map<std::string, std::string> metadata_;
};

// Elements [begin, begin + out.size()) of F32, BF16 or F16 widened to fp32; no other bytes are
// read.
Status ReadAsFloat(const TensorView& tensor, int64_t begin, std::span<float> out);
// Fails where ReadAsFloat would: it has another dtype.
Status CheckFloat(const TensorView& tensor);
// Of one shape, and the same in fp32.
bool SameValues(const TensorView& a, const TensorView& b);

// Streams tensors, in the order given to Create, into a file that appears whole at Finish.
class SafetensorsWriter {
 public:
  static Result<SafetensorsWriter> Create(const std::string& path,
                                          std::span<const TensorInfo> tensors,
                                          const std::map<std::string, std::string>& metadata = {
                                              {"format", "pt"}});
  // The next bytes; a tensor may come in several pieces.
  Status Write(std::span<const std::byte> bytes);
  Status Finish();
  // In place of Finish: the file, whole, which is not in its place yet.
  Result<AtomicFile> TakeFile();

 private:
  SafetensorsWriter(AtomicFile file, std::string path, int64_t bytes)
      : file_(std::move(file)), path_(std::move(path)), left_(bytes) {}

  AtomicFile file_;
  std::string path_;
  int64_t left_;  // bytes that are still to come
};

}  // namespace ds::checkpoint
