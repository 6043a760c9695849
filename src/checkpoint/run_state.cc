#include "checkpoint/run_state.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <vector>

#include "base/file.h"
#include "checkpoint/safetensors.h"
#include "tensor/shard_layout.h"

namespace ds::checkpoint {
namespace {

constexpr int64_t kFormat = 3;
constexpr int64_t kWithoutSums = 2;  // states of before; they are read

std::string ManifestPath(const std::string& folder) { return folder + "/run.json"; }

std::string SliceName(const RunManifest& manifest, int slice) {
  return fmt::format("step-{}.save-{}.slice-{}-of-{}.safetensors", manifest.step, manifest.save,
                     slice, manifest.world);
}

// Which slice of its array a piece is; -1 where there is nothing to cut.
int SliceOf(const StatePiece& piece, int world) {
  const int64_t shard = ShardLayout{piece.numel, world}.shard();
  return shard == 0 ? -1 : static_cast<int>(piece.begin / shard);
}

std::string Checksum(std::span<const std::byte> bytes) {
  return fmt::format("{:016x}", XXH3_64bits(bytes.data(), bytes.size()));
}
std::string Checksum(std::string_view text) { return Checksum(std::as_bytes(std::span(text))); }

// Of all arrays of a slice, by their checksums.
std::string Digest(const std::map<std::string, std::string>& checksums) {
  std::string all;
  for (const auto& [name, checksum] : checksums) {
    all += fmt::format("{}:{} {}\n", name.size(), name, checksum);
  }
  return Checksum(all);
}

// A file of an earlier state, or what a killed writer left of one.
bool IsSliceFile(const std::string& name) {
  return name.starts_with("step-") && name.find(".safetensors") != std::string::npos;
}

// Of the slice files in the folder those that `goes` says so of. A folder that is not there yet has
// none.
template <typename Goes>
Status RemoveSlices(const std::string& folder, const Goes& goes) {
  std::error_code error;
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (IsSliceFile(name) && goes(name)) found.push_back(entry.path());
  }
  error.clear();
  for (const auto& path : found) {
    std::filesystem::remove(path, error);
    if (error) return Error(Code::kIo, "{}: cannot remove: {}", path.string(), error.message());
  }
  return {};
}

Status RemoveOthers(const std::string& folder, const RunManifest& manifest) {
  return RemoveSlices(folder, [&](const std::string& name) {
    for (int r = 0; r < manifest.world; ++r) {
      if (name == SliceName(manifest, r)) return false;
    }
    return true;
  });
}

// The number in "step-40.save-3.slice-..."; 0 where the name has none.
int64_t SaveOf(const std::string& name) {
  long long step = 0, save = 0;
  return std::sscanf(name.c_str(), "step-%lld.save-%lld.", &step, &save) == 2 ? save : 0;
}

// One slice of every array, as one rank wrote them.
class SliceFile {
 public:
  static Result<SliceFile> Open(const std::string& folder, const RunManifest& manifest, int slice) {
    const std::string path = folder + "/" + SliceName(manifest, slice);
    DS_ASSIGN(SafetensorsReader reader, SafetensorsReader::Open(path));
    const std::string digest = Digest(reader.metadata());
    if (!manifest.slices.empty() && digest != manifest.slices[static_cast<size_t>(slice)]) {
      return Error(Code::kCorruptData,
                   "{}: is not the slice that run.json names: the digest of its checksums is {}, "
                   "expected {}",
                   path, digest, manifest.slices[static_cast<size_t>(slice)]);
    }
    return SliceFile(path, slice, manifest.world, std::move(reader));
  }

  // Without weights that are not trained, which states once held: they are where they came from.
  size_t arrays() const {
    const auto& all = reader_.tensors();
    return static_cast<size_t>(std::count_if(all.begin(), all.end(), [](const TensorView& view) {
      return !view.name.ends_with(".frozen/weights");
    }));
  }
  const std::string& path() const { return path_; }

  // Copies what the file has of the piece.
  Status CopyTo(const StatePiece& piece) const {
    const ShardLayout layout{piece.numel, world_};
    const TensorView* view = reader_.Find(piece.name);
    if (view == nullptr) {
      return Error(Code::kNotFound, "{}: has no {}, which this run has", path_, piece.name);
    }
    if (view->dtype != "F32" || view->numel() != layout.used(slice_)) {
      return Error(Code::kCorruptData, "{}: {} has {} elements of {}, expected {} of F32", path_,
                   piece.name, view->numel(), view->dtype, layout.used(slice_));
    }
    const int64_t begin = std::max(piece.begin, layout.begin(slice_));
    const int64_t end = std::min(piece.begin + static_cast<int64_t>(piece.data.size()),
                                 layout.begin(slice_) + layout.used(slice_));
    if (begin >= end) return {};
    const auto sum = reader_.metadata().find(piece.name);
    const std::string found = Checksum(view->bytes);
    if (sum == reader_.metadata().end() || sum->second != found) {
      return Error(Code::kCorruptData, "{}: {} has checksum {}, was written with {}", path_,
                   piece.name, found, sum == reader_.metadata().end() ? "none" : sum->second);
    }
    std::memcpy(piece.data.data() + (begin - piece.begin),
                view->bytes.data() + (begin - layout.begin(slice_)) * sizeof(float),
                static_cast<size_t>(end - begin) * sizeof(float));
    return {};
  }

 private:
  SliceFile(std::string path, int slice, int world, SafetensorsReader reader)
      : path_(std::move(path)), slice_(slice), world_(world), reader_(std::move(reader)) {}

  std::string path_;
  int slice_, world_;
  SafetensorsReader reader_;
};

}  // namespace

Result<int64_t> NextSave(const std::string& folder) {
  auto manifest = ReadRunManifest(folder);
  // One that cannot be read names no file that has to stay.
  if (manifest.status().code() == Code::kCorruptData) return 1;
  if (!manifest.ok()) return manifest.status();
  return manifest->has_value() ? (*manifest)->save + 1 : 1;
}

Status WriteRunSlices(const std::string& folder, const RunManifest& manifest, int rank,
                      StateSource& source) {
  DS_TRY(MakeDirectories(folder));
  std::vector<TensorInfo> infos;
  std::map<std::string, std::string> checksums;
  int slice = rank;  // where there is nothing at all to write
  DS_TRY(source.ForEachPiece([&](const StatePiece& piece) -> Status {
    if (const int found = SliceOf(piece, manifest.world); found >= 0) slice = found;
    infos.push_back({piece.name, "F32", {static_cast<int64_t>(piece.data.size())}});
    checksums[piece.name] = Checksum(std::as_bytes(piece.data));
    return {};
  }));
  DS_ASSIGN(SafetensorsWriter writer,
            SafetensorsWriter::Create(folder + "/" + SliceName(manifest, slice), infos, checksums));
  DS_TRY(source.ForEachPiece(
      [&](const StatePiece& piece) { return writer.Write(std::as_bytes(piece.data)); }));
  return writer.Finish();
}

Status CheckRunSlices(const std::string& folder, RunManifest& manifest) {
  manifest.slices.clear();
  for (int slice = 0; slice < manifest.world; ++slice) {
    const std::string path = fmt::format("{}/{}", folder, SliceName(manifest, slice));
    std::error_code error;
    if (!std::filesystem::exists(path, error)) {
      return Error(Code::kIo, "{}: not there, where all {} ranks have saved: is it one folder?",
                   path, manifest.world);
    }
    DS_ASSIGN(const SafetensorsReader reader, SafetensorsReader::Open(path));
    manifest.slices.push_back(Digest(reader.metadata()));
  }
  return {};
}

Status CommitRun(const std::string& folder, const RunManifest& manifest) {
  Json json = {{"format", kFormat},       {"step", manifest.step},     {"save", manifest.save},
               {"world", manifest.world}, {"slices", manifest.slices}, {"facts", manifest.facts}};
  json["checksum"] = Checksum(DumpJson(json, -1));
  DS_TRY(WriteFileAtomic(ManifestPath(folder), DumpJson(json) + "\n"));
  return RemoveOthers(folder, manifest);
}

Status RemoveUncommitted(const std::string& folder) {
  auto manifest = ReadRunManifest(folder);
  // One that cannot be read is replaced: the slices it may have named go with the next save.
  if (manifest.status().code() == Code::kCorruptData) return {};
  DS_TRY(manifest.status());
  const int64_t in_force = manifest->has_value() ? (*manifest)->save : 0;
  return RemoveSlices(folder, [&](const std::string& name) { return SaveOf(name) > in_force; });
}

Result<std::optional<RunManifest>> ReadRunManifest(const std::string& folder) {
  const std::string path = ManifestPath(folder);
  auto text = ReadFile(path);
  if (text.status().code() == Code::kNotFound) return std::optional<RunManifest>();
  if (!text.ok()) return text.status();
  auto parsed = ParseJson(*text, path);
  if (!parsed.ok()) return Error(Code::kCorruptData, "{}", parsed.status().message());
  RunManifest manifest;
  const auto read = [&]() -> Status {
    Json& json = *parsed;
    if (!json.is_object()) {
      return Error(Code::kConfig, "is {}, expected an object", JsonTypeName(json));
    }
    int64_t format = 0, world = 0;
    DS_TRY(RequireKey(json, "format", format));
    if (format != kFormat && format != kWithoutSums) {
      return Error(Code::kConfig, "format is {}, this version reads {} and {}", format,
                   kWithoutSums, kFormat);
    }
    // One bit makes a 2 of a 3: what has a checksum is compared with it.
    std::string checksum;
    if (format == kFormat || json.contains("checksum")) {
      DS_TRY(RequireKey(json, "checksum", checksum));
      json.erase("checksum");
      const std::string found = Checksum(DumpJson(json, -1));
      if (checksum != found) {
        return Error(Code::kConfig, "has checksum {}, was written with {}", found, checksum);
      }
    }
    DS_TRY(RequireKey(json, "step", manifest.step));
    DS_TRY(RequireKey(json, "save", manifest.save));
    DS_TRY(RequireKey(json, "world", world));
    if (world < 1 || world > 1 << 20 || manifest.step < 0 || manifest.save < 1) {
      return Error(Code::kConfig, "step is {}, save {} and world {}", manifest.step, manifest.save,
                   world);
    }
    manifest.world = static_cast<int>(world);
    if (format == kFormat) {
      const Json slices = json.value("slices", Json());
      if (!slices.is_array() || slices.size() != static_cast<size_t>(world)) {
        return Error(Code::kConfig, "slices: {} of {}, expected {}", JsonTypeName(slices),
                     slices.size(), world);
      }
      for (const Json& slice : slices) {
        if (!slice.is_string()) {
          return Error(Code::kConfig, "slices: {} in it, expected strings", JsonTypeName(slice));
        }
        manifest.slices.push_back(slice.get<std::string>());
      }
    }
    if (!json.contains("facts") || !json["facts"].is_object()) {
      return Error(Code::kConfig, "facts: missing, or no object");
    }
    manifest.facts = std::move(json["facts"]);
    return {};
  };
  if (const Status status = read(); !status.ok()) {
    return Error(Code::kCorruptData, "{}: {}", path, status.message());
  }
  return std::optional(std::move(manifest));
}

Status ReadRunSlices(const std::string& folder, const RunManifest& manifest, StateSource& source) {
  std::vector<SliceFile> files;
  for (int r = 0; r < manifest.world; ++r) {
    DS_ASSIGN(SliceFile file, SliceFile::Open(folder, manifest, r));
    files.push_back(std::move(file));
  }
  size_t pieces = 0;
  DS_TRY(source.ForEachPiece([&](const StatePiece& piece) -> Status {
    ++pieces;
    for (const SliceFile& file : files) DS_TRY(file.CopyTo(piece));
    return {};
  }));
  if (files[0].arrays() != pieces) {
    return InvalidArgument("{}: has {} arrays, this run has {}", files[0].path(), files[0].arrays(),
                           pieces);
  }
  return {};
}

}  // namespace ds::checkpoint
