#include "data/token_file.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>

namespace ds::data {
namespace {

// llm.c: 256 numbers, of which the first three are said to be a magic number, a version and the
// number of ids.
constexpr size_t kLlmcHeader = 256 * sizeof(int32_t);
constexpr struct {
  int32_t magic, version;
  size_t width;
} kLlmc[] = {{20240520, 1, sizeof(uint16_t)}, {20240801, 7, sizeof(uint32_t)}};

constexpr std::string_view kMegatronMagic("MMIDIDX\0\0", 9);

template <typename... Args>
Status Corrupt(std::string_view what, fmt::format_string<Args...> format, Args&&... args) {
  return {Code::kCorruptData,
          fmt::format("{}: {}", what, fmt::format(format, std::forward<Args>(args)...))};
}

template <typename T>
T ReadAt(std::span<const std::byte> bytes, size_t at) {
  T value;  // copied: nothing in these files is aligned
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

}  // namespace

Result<TokenFile> TokenFile::Open(const std::string& path) {
  std::error_code ignored;
  // NAME.idx, NAME.bin beside one, or NAME of both.
  const bool ends = path.ends_with(".idx") || path.ends_with(".bin");
  const std::string name = ends ? path.substr(0, path.size() - 4) : path;
  const bool is_file = !ends && std::filesystem::exists(path, ignored);
  if (path.ends_with(".idx") || (!is_file && std::filesystem::exists(name + ".idx", ignored))) {
    return OpenMegatron(name + ".idx", name + ".bin");
  }
  DS_ASSIGN(MappedFile file, MappedFile::Open(path));
  const auto bytes = file.bytes();
  if (bytes.size() >= sizeof(int32_t)) {
    const auto magic = ReadAt<int32_t>(bytes, 0);
    for (const auto& known : kLlmc) {
      if (magic != known.magic) continue;
      if (bytes.size() < kLlmcHeader) {
        return Corrupt(path, "has {} bytes, and the header of an llm.c file alone has {}",
                       bytes.size(), kLlmcHeader);
      }
      const auto version = ReadAt<int32_t>(bytes, 4), count = ReadAt<int32_t>(bytes, 8);
      if (version != known.version) {
        return Corrupt(path, "llm.c version {}, expected {}", version, known.version);
      }
      const size_t held = bytes.size() - kLlmcHeader;
      if (count < 0 || static_cast<size_t>(count) * known.width != held) {
        return Corrupt(path, "the header says {} ids of {} bytes, the file has {} bytes of them",
                       count, known.width, held);
      }
      return TokenFile(std::move(file), "llm.c", kLlmcHeader, static_cast<size_t>(count),
                       known.width);
    }
  }
  if (bytes.size() % sizeof(uint16_t) != 0) {
    return Corrupt(path, "has {} bytes, which is no whole number of uint16 ids", bytes.size());
  }
  const size_t count = bytes.size() / sizeof(uint16_t);
  return TokenFile(std::move(file), "nanoGPT", 0, count, sizeof(uint16_t));
}

Result<TokenFile> TokenFile::OpenMegatron(const std::string& index, const std::string& ids) {
  DS_ASSIGN(const MappedFile header, MappedFile::Open(index));
  DS_ASSIGN(MappedFile file, MappedFile::Open(ids));
  DS_ASSIGN(const MegatronIndex found,
            ParseMegatronIndex(header.bytes(), file.bytes().size(), index));
  return TokenFile(std::move(file), "Megatron", 0, found.tokens, found.width);
}

Result<MegatronIndex> ParseMegatronIndex(std::span<const std::byte> index, size_t id_bytes,
                                         std::string_view what) {
  // The magic, then uint64 version, uint8 dtype, uint64 sequences, uint64 documents; then of each
  // sequence an int32 length, then an int64 place of each, then an int64 first sequence of each
  // document; some have a byte more of each sequence.
  constexpr size_t kVersion = 9, kDType = 17, kSequences = 18, kDocuments = 26, kHeader = 34;
  const std::string_view begin(reinterpret_cast<const char*>(index.data()),
                               std::min(index.size(), kMegatronMagic.size()));
  if (begin != kMegatronMagic || index.size() < kHeader) {
    return Corrupt(what, "{} bytes that are no index of Megatron", index.size());
  }
  if (const auto version = ReadAt<uint64_t>(index, kVersion); version != 1) {
    return Corrupt(what, "version {}, expected 1", version);
  }
  const auto dtype = ReadAt<uint8_t>(index, kDType);
  const size_t width = dtype == 1 ? 1 : dtype == 8 ? 2 : dtype == 4 ? 4 : 0;
  if (width == 0) {
    return Error(Code::kUnsupported, "{}: dtype {}, expected 1 (uint8), 8 (uint16) or 4 (int32)",
                 what, dtype);
  }
  const auto sequences = ReadAt<uint64_t>(index, kSequences);
  const auto documents = ReadAt<uint64_t>(index, kDocuments);
  const uint64_t room = index.size() - kHeader;
  if (sequences > room / 12 || documents > room / 8 ||
      (room != sequences * 12 + documents * 8 && room != sequences * 13 + documents * 8)) {
    return Corrupt(what, "{} sequences and {} documents do not fill {} bytes", sequences, documents,
                   index.size());
  }
  uint64_t at = 0;  // in the file of ids
  for (uint64_t i = 0; i < sequences; ++i) {
    const auto length = ReadAt<int32_t>(index, kHeader + i * 4);
    const auto place = ReadAt<int64_t>(index, kHeader + sequences * 4 + i * 8);
    if (length < 0 || place < 0 || static_cast<uint64_t>(place) != at) {
      return Corrupt(what, "sequence {} has {} ids at byte {}, expected at byte {}", i, length,
                     place, at);
    }
    at += static_cast<uint64_t>(length) * width;
  }
  if (at != id_bytes) {
    return Corrupt(what, "the sequences end at byte {} of the ids, which have {}", at, id_bytes);
  }
  for (uint64_t i = 0; i < documents; ++i) {
    const auto first = ReadAt<int64_t>(index, kHeader + sequences * 12 + i * 8);
    if (first < 0 || static_cast<uint64_t>(first) > sequences) {
      return Corrupt(what, "document {} begins at sequence {} of {}", i, first, sequences);
    }
  }
  return MegatronIndex{width, static_cast<size_t>(at / width)};
}

Status CheckIds(TokenSpan tokens, int64_t vocab, std::string_view what) {
  const uint32_t most = tokens.Typed([&](const auto* ids) -> uint32_t {
    std::remove_cvref_t<decltype(*ids)> found = 0;
    for (size_t i = 0; i < tokens.size(); ++i) found = std::max(found, ids[i]);
    return found;
  });
  if (tokens.size() == 0 || static_cast<int64_t>(most) < vocab) return {};
  for (size_t i = 0;; ++i) {
    const uint32_t id = tokens.Typed([i](const auto* ids) -> uint32_t { return ids[i]; });
    if (static_cast<int64_t>(id) < vocab) continue;
    return Error(Code::kCorruptData, "{}: id {} is {}, the vocabulary has {}", what, i,
                 static_cast<int32_t>(id), vocab);
  }
}

}  // namespace ds::data
