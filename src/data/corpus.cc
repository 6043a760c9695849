#include "data/corpus.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/lower.h"
#include "data/encode.h"

namespace ds::data {
Result<Source> Source::Find(const std::string& path, std::string_view format, std::string field) {
  Source source{path, TextFormat::kText, std::move(field)};
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(path, ignored);
  std::string exact;  // the extension, where it says the format
  if (format == "auto" && !folder) exact = std::filesystem::path(path).extension().string();
  const std::string extension = Lower(exact);
  for (const char* packed : {".gz", ".zst", ".xz", ".bz2", ".zip", ".parquet", ".arrow"}) {
    if (extension != packed) continue;
    return Error(Code::kUnsupported, "{}: {} files are not read: unpack it, or say --format", path,
                 packed);
  }
  if (folder && (format == "auto" || format == "text")) {
    source.text = TextFormat::kFolder;
  } else if (format == "jsonl" || extension == ".jsonl" || extension == ".ndjson") {
    source.text = TextFormat::kJsonLines;
  } else if (format == "chat") {
    source.text = TextFormat::kChat;
  } else if (format == "tokens" || exact == ".bin" || exact == ".idx") {
    source.text.reset();
  } else if (format != "auto" && format != "text") {
    return InvalidArgument("--format is {}, expected auto, text, jsonl, chat or tokens", format);
  }
  return source;
}

Result<Corpus> Corpus::Open(const Source& source, const token::Tokenizer* tokenizer, int64_t vocab,
                            int64_t tokens, TaskPool& pool) {
  if (tokens < 1) return InvalidArgument("sequences of {} tokens, expected at least 1", tokens);
  if (vocab > TokenSpan::kBegins) {
    return InvalidArgument("a vocabulary of {}, at most {}", vocab, TokenSpan::kBegins);
  }
  Corpus corpus(source.path);
  const char* unit = tokenizer == nullptr ? "token" : tokenizer->unit();
  if (!source.text.has_value()) {
    DS_ASSIGN(TokenFile file, TokenFile::Open(source.path));
    DS_TRY(CheckIds(file.tokens(), vocab, file.path()));
    corpus.tokens_ = std::move(file);
  } else if (tokenizer == nullptr) {
    return InvalidArgument("{}: a text needs a tokenizer", source.path);
  } else if (std::string_view(unit) == "byte" && *source.text == TextFormat::kText) {
    DS_ASSIGN(MappedFile file, MappedFile::Open(source.path));
    corpus.tokens_ = std::move(file);
  } else {
    DS_TRY(corpus.Encode(source, *tokenizer, pool));
  }
  const TokenSpan all = corpus.all();
  if (all.size() == 0) return InvalidArgument("{}: is empty", source.path);
  DS_ASSIGN(const size_t split, corpus.FindSplit(tokens, unit));
  corpus.train_ = Windows(all.first(split), tokens);
  corpus.validation_ = Windows(all.subspan(split), tokens);
  corpus.learned_ = all.learned();
  return corpus;
}

Result<size_t> Corpus::FindSplit(int64_t tokens, const char* unit) const {
  const TokenSpan all = this->all();
  const auto size = static_cast<int64_t>(all.size());
  const auto tenth = static_cast<size_t>(size - size / 10);
  if (all.BeginsAt(0)) {  // at the nearest conversation, which has an answer each
    size_t before = std::min(tenth, all.size() - 1), behind = before + 1;
    while (before > 0 && !all.BeginsAt(before)) --before;
    while (behind < all.size() && !all.BeginsAt(behind)) ++behind;
    const bool either = before > 0 && behind < all.size();
    if (either) return tenth - before <= behind - tenth ? before : behind;
    if (before > 0 || behind < all.size()) return before > 0 ? before : behind;
    return InvalidArgument(
        "{}: has 1 conversation with an answer, at least 2 are needed: one for training and one "
        "for validation",
        path_);
  }
  if (tokens >= size / 2) {
    return InvalidArgument(
        "{}: has {} {}s, at least {} are needed: a window of {} for training and one for "
        "validation",
        path_, size, unit, 2 * (static_cast<uint64_t>(tokens) + 1),
        static_cast<uint64_t>(tokens) + 1);
  }
  return static_cast<size_t>(size - std::max(size / 10, tokens + 1));
}

Status Corpus::Encode(const Source& source, const token::Tokenizer& tokenizer, TaskPool& pool) {
  DS_ASSIGN(Documents documents, Documents::Open(source.path, *source.text, source.field));
  std::vector<uint16_t> narrow;
  std::vector<uint32_t> wide;
  const bool fits = tokenizer.vocab() <= 65536 && *source.text != TextFormat::kChat;
  // A token is most often more than two bytes. What is reserved and not written takes no memory,
  // and what grows by doubling would for a while be held twice.
  const auto enough = static_cast<size_t>(documents.bytes() / 2);
  fits ? narrow.reserve(enough) : wide.reserve(enough);
  DS_TRY(EncodeDocuments(
      documents, tokenizer, pool,
      [&](std::span<const int32_t> ids) -> Status {
        if (fits) {
          for (const int32_t id : ids) narrow.push_back(static_cast<uint16_t>(id));
        } else {
          for (const int32_t id : ids) wide.push_back(static_cast<uint32_t>(id));
        }
        return {};
      },
      [&](const EncodeProgress& now) {
        unanswered_ = now.unanswered;
        return true;
      }));
  if (fits) {
    tokens_ = std::move(narrow);
  } else {
    tokens_ = std::move(wide);
  }
  return {};
}

TokenSpan Corpus::all() const {
  struct Visitor {
    TokenSpan operator()(const std::vector<uint16_t>& ids) const { return ids; }
    TokenSpan operator()(const std::vector<uint32_t>& ids) const { return ids; }
    TokenSpan operator()(const MappedFile& file) const {
      return {file.bytes().data(), file.bytes().size(), 1};
    }
    TokenSpan operator()(const TokenFile& file) const { return file.tokens(); }
  };
  return std::visit(Visitor(), tokens_);
}

double UnigramEntropy(std::span<const WeightedText> texts, int64_t vocab) {
  std::vector<double> parts(static_cast<size_t>(vocab));
  for (const auto& [tokens, weight] : texts) {
    std::vector<int64_t> counts(parts.size());
    tokens.Typed([&, n = tokens.size()](const auto* ids) {
      for (size_t i = 0; i < n; ++i) {
        if (TokenSpan::IsLearned(ids[i])) ++counts[TokenSpan::Id(ids[i])];
      }
    });
    const auto n = static_cast<double>(std::max<int64_t>(1, tokens.learned()));
    for (size_t i = 0; i < parts.size(); ++i) {
      parts[i] += weight * (static_cast<double>(counts[i]) / n);
    }
  }
  double entropy = 0;
  for (const double part : parts) {
    if (part > 0) entropy -= part * std::log(part);
  }
  return entropy;
}

}  // namespace ds::data
