#include "checkpoint/run_state.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <vector>

#include "base/file.h"
#include "checkpoint/safetensors.h"
#include "tensor/shard_layout.h"

namespace ds::checkpoint {
namespace {

constexpr int64_t kFormat = 1;

std::string ManifestPath(const std::string& folder) { return folder + "/run.json"; }

std::string SliceName(int64_t step, int rank, int world) {
  return fmt::format("step-{}.rank-{}-of-{}.safetensors", step, rank, world);
}

std::string Checksum(std::span<const std::byte> bytes) {
  return fmt::format("{:016x}", XXH3_64bits(bytes.data(), bytes.size()));
}

// A file of an earlier state, or what a killed writer left of one.
bool IsSliceFile(const std::string& name) {
  return name.starts_with("step-") && name.find(".safetensors") != std::string::npos;
}

Status RemoveOthers(const std::string& folder, const RunManifest& manifest) {
  std::error_code error;
  std::vector<std::filesystem::path> old;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    bool ours = false;
    for (int r = 0; r < manifest.world; ++r) {
      ours = ours || name == SliceName(manifest.step, r, manifest.world);
    }
    if (IsSliceFile(name) && !ours) old.push_back(entry.path());
  }
  for (const auto& path : old) std::filesystem::remove(path, error);
  if (error) return Error(Code::kIo, "{}: cannot remove old files: {}", folder, error.message());
  return {};
}

// The slices that one rank wrote.
class SliceFile {
 public:
  static Result<SliceFile> Open(const std::string& folder, const RunManifest& manifest, int rank) {
    const std::string path = folder + "/" + SliceName(manifest.step, rank, manifest.world);
    DS_ASSIGN(SafetensorsReader reader, SafetensorsReader::Open(path));
    return SliceFile(path, rank, manifest.world, std::move(reader));
  }

  size_t arrays() const { return reader_.tensors().size(); }
  const std::string& path() const { return path_; }

  // Copies what the file has of the piece.
  Status CopyTo(const StatePiece& piece) const {
    const ShardLayout layout{piece.numel, world_};
    const int64_t begin = std::max(piece.begin, layout.begin(rank_));
    const int64_t end = std::min(piece.begin + static_cast<int64_t>(piece.data.size()),
                                 layout.begin(rank_) + layout.used(rank_));
    if (begin >= end) return {};
    const TensorView* slice = reader_.Find(piece.name);
    if (slice == nullptr) {
      return Error(Code::kNotFound, "{}: has no {}, which this run has", path_, piece.name);
    }
    if (slice->dtype != "F32" || slice->numel() != layout.used(rank_)) {
      return Error(Code::kCorruptData, "{}: {} has {} elements of {}, expected {} of F32", path_,
                   piece.name, slice->numel(), slice->dtype, layout.used(rank_));
    }
    const auto sum = reader_.metadata().find(piece.name);
    const std::string found = Checksum(slice->bytes);
    if (sum == reader_.metadata().end() || sum->second != found) {
      return Error(Code::kCorruptData, "{}: {} has checksum {}, was written with {}", path_,
                   piece.name, found, sum == reader_.metadata().end() ? "none" : sum->second);
    }
    std::memcpy(piece.data.data() + (begin - piece.begin),
                slice->bytes.data() + (begin - layout.begin(rank_)) * sizeof(float),
                static_cast<size_t>(end - begin) * sizeof(float));
    return {};
  }

 private:
  SliceFile(std::string path, int rank, int world, SafetensorsReader reader)
      : path_(std::move(path)), rank_(rank), world_(world), reader_(std::move(reader)) {}

  std::string path_;
  int rank_, world_;
  SafetensorsReader reader_;
};

}  // namespace

Status WriteRunSlices(const std::string& folder, int64_t step, int rank, int world,
                      StateSource& source) {
  DS_TRY(MakeDirectories(folder));
  std::vector<TensorInfo> infos;
  std::map<std::string, std::string> checksums;
  DS_TRY(source.ForEachPiece([&](const StatePiece& piece) -> Status {
    infos.push_back({piece.name, "F32", {static_cast<int64_t>(piece.data.size())}});
    checksums[piece.name] = Checksum(std::as_bytes(piece.data));
    return {};
  }));
  DS_ASSIGN(
      SafetensorsWriter writer,
      SafetensorsWriter::Create(folder + "/" + SliceName(step, rank, world), infos, checksums));
  DS_TRY(source.ForEachPiece(
      [&](const StatePiece& piece) { return writer.Write(std::as_bytes(piece.data)); }));
  return writer.Finish();
}

Status CommitRun(const std::string& folder, const RunManifest& manifest) {
  const Json json = {{"format", kFormat},
                     {"step", manifest.step},
                     {"world", manifest.world},
                     {"facts", manifest.facts}};
  DS_TRY(WriteFileAtomic(ManifestPath(folder), DumpJson(json) + "\n"));
  return RemoveOthers(folder, manifest);
}

Result<std::optional<RunManifest>> ReadRunManifest(const std::string& folder) {
  const std::string path = ManifestPath(folder);
  auto text = ReadFile(path);
  if (text.status().code() == Code::kNotFound) return std::optional<RunManifest>();
  if (!text.ok()) return text.status();
  RunManifest manifest;
  const auto read = [&]() -> Status {
    DS_ASSIGN(Json json, ParseJson(*text, path));
    if (!json.is_object()) {
      return Error(Code::kConfig, "is {}, expected an object", JsonTypeName(json));
    }
    int64_t format = 0, world = 0;
    DS_TRY(RequireKey(json, "format", format));
    if (format != kFormat) {
      return Error(Code::kConfig, "format is {}, this version reads {}", format, kFormat);
    }
    DS_TRY(RequireKey(json, "step", manifest.step));
    DS_TRY(RequireKey(json, "world", world));
    if (world < 1 || world > 1 << 20 || manifest.step < 0) {
      return Error(Code::kConfig, "step is {} and world {}", manifest.step, world);
    }
    manifest.world = static_cast<int>(world);
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
