#include "checkpoint/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "base/json.h"

namespace ds::checkpoint {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // the limit of the format's own library
constexpr size_t kMaxRank = 32;

template <typename... Args>
Status Corrupt(std::string_view what, fmt::format_string<Args...> format, Args&&... args) {
  return {Code::kCorruptData,
          fmt::format("{}: {}", what, fmt::format(format, std::forward<Args>(args)...))};
}

// Elements times bytes of one; fails when it does not fit 63 bits or an extent is negative.
Result<int64_t> BytesOf(const TensorInfo& info) {
  int64_t bytes = SafetensorsDTypeBytes(info.dtype);
  for (const int64_t extent : info.shape) {
    if (extent < 0 || __builtin_mul_overflow(bytes, extent, &bytes)) {
      return InvalidArgument("{}: shape {} is too large for a file", info.name,
                             ShapeText(info.shape));
    }
  }
  return bytes;
}

Result<int64_t> ReadExtent(const Json& value) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > uint64_t{INT64_MAX}) {
    return InvalidArgument("{} is not a count", DumpJson(value, -1).substr(0, 40));
  }
  return value.get<int64_t>();
}

// One entry of the header: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}.
Result<TensorView> ReadEntry(const std::string& name, const Json& entry,
                             std::span<const std::byte> data) {
  TensorView view;
  view.name = name;
  if (!entry.is_object() || !entry.contains("shape") || !entry["shape"].is_array() ||
      !entry.contains("data_offsets") || !entry["data_offsets"].is_array() ||
      entry["data_offsets"].size() != 2) {
    return InvalidArgument("has no dtype, shape and data_offsets of the right kinds");
  }
  DS_TRY(RequireKey(entry, "dtype", view.dtype));
  const int64_t size = SafetensorsDTypeBytes(view.dtype);
  if (size == 0) return InvalidArgument("has dtype {}, which is not known", view.dtype);
  if (entry["shape"].size() > kMaxRank) {
    return InvalidArgument("has {} dimensions, at most {}", entry["shape"].size(), kMaxRank);
  }
  for (const Json& extent : entry["shape"]) {
    DS_ASSIGN(const int64_t n, ReadExtent(extent));
    view.shape.push_back(n);
  }
  DS_ASSIGN(const int64_t begin, ReadExtent(entry["data_offsets"][0]));
  DS_ASSIGN(const int64_t end, ReadExtent(entry["data_offsets"][1]));
  if (begin > end || static_cast<size_t>(end) > data.size()) {
    return InvalidArgument("lies at [{}, {}) of {} bytes of data", begin, end, data.size());
  }
  DS_ASSIGN(const int64_t bytes, BytesOf(view));
  if (bytes != end - begin) {
    return InvalidArgument("{} {} has {} bytes, its offsets span {}", view.dtype,
                           ShapeText(view.shape), bytes, end - begin);
  }
  view.bytes = data.subspan(static_cast<size_t>(begin), static_cast<size_t>(bytes));
  return view;
}

Status ReadMetadata(const Json& entry, std::map<std::string, std::string>& metadata) {
  if (!entry.is_object()) return InvalidArgument("__metadata__ is {}", JsonTypeName(entry));
  for (const auto& item : entry.items()) {
    DS_TRY(ReadKey(entry, item.key(), metadata[item.key()]));
  }
  return {};
}

// The arrays must fill the data from end to end, so that no byte is hidden or shared.
Status CheckCoverage(std::span<const TensorView> sorted, std::span<const std::byte> data) {
  const std::byte* at = data.data();
  for (const TensorView& view : sorted) {
    if (view.bytes.data() != at) {
      return InvalidArgument("tensor {} begins at byte {} of the data, expected {}", view.name,
                             view.bytes.data() - data.data(), at - data.data());
    }
    at += view.bytes.size();
  }
  if (at != data.data() + data.size()) {
    return InvalidArgument("the tensors end at byte {} of the data, which has {}", at - data.data(),
                           data.size());
  }
  return {};
}

template <typename T>
void WidenAll(std::span<const std::byte> bytes, std::span<float> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    T value;  // copied, because the header only asks writers for alignment
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    out[i] = static_cast<float>(value);
  }
}

}  // namespace

const char* SafetensorsDType(DType dtype) {
  return dtype == DType::kF32 ? "F32" : dtype == DType::kBF16 ? "BF16" : "F16";
}

int64_t SafetensorsDTypeBytes(std::string_view dtype) {
  static constexpr struct {
    std::string_view name;
    int64_t bytes;
  } kTypes[] = {{"F32", 4},     {"BF16", 2},        {"F16", 2},        {"I64", 8},
                {"I32", 4},     {"U8", 1},          {"F64", 8},        {"I16", 2},
                {"I8", 1},      {"BOOL", 1},        {"U16", 2},        {"U32", 4},
                {"U64", 8},     {"C64", 8},         {"F8_E4M3", 1},    {"F8_E5M2", 1},
                {"F8_E8M0", 1}, {"F8_E4M3FNUZ", 1}, {"F8_E5M2FNUZ", 1}};
  for (const auto& type : kTypes) {
    if (type.name == dtype) return type.bytes;
  }
  return 0;
}

std::string ShapeText(std::span<const int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

Result<SafetensorsReader> SafetensorsReader::Open(const std::string& path) {
  DS_ASSIGN(MappedFile file, MappedFile::Open(path));
  DS_ASSIGN(SafetensorsReader reader, Parse(file.bytes(), path));
  reader.file_.emplace(std::move(file));  // the mapping, and so the views, stay where they are
  return reader;
}

Result<SafetensorsReader> SafetensorsReader::Parse(std::span<const std::byte> bytes,
                                                   std::string_view what) {
  uint64_t length = 0;
  if (bytes.size() < sizeof length) {
    return Corrupt(what, "{} bytes, a safetensors file has at least 8", bytes.size());
  }
  constexpr std::string_view kPointer = "version https://git-lfs";
  if (std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size())
          .starts_with(kPointer)) {
    return Corrupt(what, "a pointer of Git LFS and not the file, which git lfs pull fetches");
  }
  std::memcpy(&length, bytes.data(), sizeof length);  // little endian, as the machines we run on
  if (length > kMaxHeader) {
    return Corrupt(what, "the header has {} bytes, at most {} are read", length, kMaxHeader);
  }
  if (length > bytes.size() - sizeof length) {
    return Corrupt(what, "the header has {} bytes, the file {}", length, bytes.size());
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + sizeof length, length);
  if (text.empty() || text.front() != '{')
    return Corrupt(what, "the header does not begin with {{");
  auto header = ParseJson(text, "header", {kMaxHeader, /*max_depth=*/4, /*comments=*/false});
  if (!header.ok()) return Corrupt(what, "{}", header.status().message());

  SafetensorsReader reader;
  Status status = reader.ReadHeader(*header, bytes.subspan(sizeof length + length));
  if (!status.ok()) return Corrupt(what, "{}", status.message());
  return reader;
}

Status SafetensorsReader::ReadHeader(const Json& header, std::span<const std::byte> data) {
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      DS_TRY(ReadMetadata(entry, metadata_));
      continue;
    }
    auto view = ReadEntry(name, entry, data);
    if (!view.ok()) return InvalidArgument("tensor {}: {}", name, view.status().message());
    tensors_.push_back(std::move(view).Take());
  }
  // By begin; an empty array goes before the one that begins where it stands.
  std::stable_sort(tensors_.begin(), tensors_.end(), [](const TensorView& a, const TensorView& b) {
    return std::pair(a.bytes.data(), a.bytes.size()) < std::pair(b.bytes.data(), b.bytes.size());
  });
  DS_TRY(CheckCoverage(tensors_, data));
  for (size_t i = 0; i < tensors_.size(); ++i) index_[tensors_[i].name] = i;
  return {};
}

const TensorView* SafetensorsReader::Find(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

Status CheckFloat(const TensorView& tensor) {
  if (tensor.dtype == "F32" || tensor.dtype == "BF16" || tensor.dtype == "F16") return {};
  return Error(Code::kUnsupported, "{}: has dtype {}, expected F32, BF16 or F16", tensor.name,
               tensor.dtype);
}

Status ReadAsFloat(const TensorView& tensor, int64_t begin, std::span<float> out) {
  DS_TRY(CheckFloat(tensor));
  const auto count = static_cast<int64_t>(out.size());
  if (begin < 0 || begin > tensor.numel() || count > tensor.numel() - begin) {
    return InvalidArgument("{}: {} elements in the file, {} wanted from {} on", tensor.name,
                           tensor.numel(), count, begin);
  }
  const auto width = static_cast<size_t>(SafetensorsDTypeBytes(tensor.dtype));
  const auto bytes = tensor.bytes.subspan(static_cast<size_t>(begin) * width, out.size() * width);
  if (tensor.dtype == "F32") {
    if (!out.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
  } else if (tensor.dtype == "BF16") {
    WidenAll<BF16>(bytes, out);
  } else {
    WidenAll<F16>(bytes, out);
  }
  return {};
}

bool SameValues(const TensorView& a, const TensorView& b) {
  if (a.shape != b.shape) return false;
  if (a.dtype == b.dtype) {
    return std::memcmp(a.bytes.data(), b.bytes.data(), a.bytes.size()) == 0;
  }
  std::vector<float> some(std::min<size_t>(static_cast<size_t>(a.numel()), 1 << 16)), others(some);
  for (int64_t begin = 0; begin < a.numel(); begin += std::ssize(some)) {
    const auto count = static_cast<size_t>(std::min(a.numel() - begin, std::ssize(some)));
    const auto left = std::span(some).first(count), right = std::span(others).first(count);
    if (!ReadAsFloat(a, begin, left).ok()) return false;
    if (!ReadAsFloat(b, begin, right).ok()) return false;
    if (!std::ranges::equal(left, right)) return false;
  }
  return true;
}

Result<SafetensorsWriter> SafetensorsWriter::Create(
    const std::string& path, std::span<const TensorInfo> tensors,
    const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::set<std::string_view> names;
  int64_t offset = 0;
  for (const TensorInfo& info : tensors) {
    if (!names.insert(info.name).second || info.name == "__metadata__") {
      return InvalidArgument("{}: tensor {} stands twice", path, info.name);
    }
    if (SafetensorsDTypeBytes(info.dtype) == 0) {
      return InvalidArgument("{}: tensor {} has dtype {}, which is not known", path, info.name,
                             info.dtype);
    }
    DS_ASSIGN(const int64_t bytes, BytesOf(info));
    const int64_t begin = offset;
    if (__builtin_add_overflow(offset, bytes, &offset)) {
      return InvalidArgument("{}: the tensors are too large for a file", path);
    }
    header[info.name] = {
        {"dtype", info.dtype}, {"shape", info.shape}, {"data_offsets", {begin, offset}}};
  }
  std::string text = header.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the data begins 8-byte aligned
  const uint64_t length = text.size();
  DS_ASSIGN(AtomicFile file, AtomicFile::Create(path));
  DS_TRY(file.Write(std::as_bytes(std::span(&length, 1))));
  DS_TRY(file.Write(text));
  return SafetensorsWriter(std::move(file), path, offset);
}

Status SafetensorsWriter::Write(std::span<const std::byte> bytes) {
  if (static_cast<int64_t>(bytes.size()) > left_) {
    return InvalidState("{}: {} bytes written, {} were announced to follow", path_, bytes.size(),
                        left_);
  }
  left_ -= static_cast<int64_t>(bytes.size());
  return file_.Write(bytes);
}

Status SafetensorsWriter::Finish() {
  DS_ASSIGN(AtomicFile file, TakeFile());
  return file.Commit();
}

Result<AtomicFile> SafetensorsWriter::TakeFile() {
  if (left_ != 0) return InvalidState("{}: finished with {} bytes missing", path_, left_);
  return std::move(file_);
}

}  // namespace ds::checkpoint
