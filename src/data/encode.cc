#include "data/encode.h"

#include <algorithm>
#include <exception>

#include "base/utf8.h"
#include "data/chat.h"
#include "data/tokens.h"
#include "token/plain_tokenizers.h"

namespace ds::data {
namespace {

constexpr size_t kPieceBytes = size_t{256} << 10;
constexpr size_t kBatchBytes = size_t{16} << 20;

struct Piece {
  Document document;  // its text is this piece of it
  size_t offset = 0;
  bool last = true;  // of its document
};

// Pieces that one thread encodes in turn.
struct Tile {
  size_t begin = 0, end = 0;
  token::Ids ids;
  Status status;
};

class Encoder {
 public:
  Encoder(Documents& documents, const token::Tokenizer& tokenizer, TaskPool& pool)
      : documents_(documents), tokenizer_(tokenizer), pool_(pool) {
    caches_.resize(static_cast<size_t>(pool.threads()));
  }

  // The next batch of ids, as tiles in order; none at the end.
  Result<std::span<const Tile>> Next() {
    pieces_.clear();
    tiles_.clear();
    size_t bytes = 0;
    while (bytes < kBatchBytes) {
      if (at_ == rest_.text.size() && !fresh_) {
        at_ = 0;
        DS_ASSIGN(const bool more, documents_.Next(rest_));
        if (!more) break;
        if (!rest_.turns.empty() && !HasAnswer(rest_.turns)) {
          ++progress_.unanswered;
          continue;
        }
        if (tokenizer_.vocab() != 256) DS_TRY(CheckUtf8(rest_.text, rest_.what));
        fresh_ = true;
        ++progress_.documents;
      }
      bytes += Cut();
    }
    pool_.Run(static_cast<int64_t>(tiles_.size()), [&](int64_t tile, int lane) {
      Encode(tiles_[static_cast<size_t>(tile)], caches_[static_cast<size_t>(lane)]);
    });
    progress_.bytes = documents_.bytes();
    progress_.bytes_done = documents_.bytes_done();
    for (const Tile& tile : tiles_) {
      DS_TRY(tile.status);
      progress_.tokens += static_cast<int64_t>(tile.ids.size());
    }
    return std::span<const Tile>(tiles_);
  }

  const EncodeProgress& progress() const { return progress_; }

 private:
  // Puts the next piece of the document into a tile; how large it counts.
  size_t Cut() {
    const std::string_view text = rest_.text;
    const size_t end = text.size() - at_ <= kPieceBytes
                           ? text.size()
                           : tokenizer_.FindCut(text, at_ + kPieceBytes);
    Piece piece;
    piece.document = {text.substr(at_, end - at_), rest_.turns, rest_.what, rest_.owner};
    piece.offset = at_;
    piece.last = end == text.size();
    size_t bytes = end - at_ + 64;  // an empty one costs something too
    for (const Turn& turn : rest_.turns) bytes += turn.content.size();
    if (tiles_.empty() || tile_bytes_ + bytes > kPieceBytes) {
      tiles_.push_back({pieces_.size(), pieces_.size(), {}, {}});
      tile_bytes_ = 0;
    }
    tile_bytes_ += bytes;
    pieces_.push_back(std::move(piece));
    tiles_.back().end = pieces_.size();
    at_ = end;
    fresh_ = false;
    return bytes;
  }

  void Encode(Tile& tile, token::WordCache& cache) {
    try {
      for (size_t i = tile.begin; i < tile.end && tile.status.ok(); ++i) {
        const Piece& piece = pieces_[i];
        const Status status = EncodePiece(piece, cache, tile.ids);
        if (status.ok()) continue;
        const std::string from =
            piece.offset == 0 ? "" : fmt::format("from byte {} on: ", piece.offset);
        tile.status = Error(status.code(), "{}: {}{}", piece.document.what, from, status.message());
      }
    } catch (const std::exception& e) {  // out of memory is all that is left
      tile.status =
          Error(Code::kOutOfMemory, "{}: {}", pieces_[tile.begin].document.what, e.what());
    }
  }

  Status EncodePiece(const Piece& piece, token::WordCache& cache, token::Ids& ids) const {
    const Document& document = piece.document;
    if (!document.turns.empty()) return EncodeChat(document.turns, tokenizer_, cache, ids);
    const bool several = documents_.several();
    if (several && piece.offset == 0) {
      ids.insert(ids.end(), tokenizer_.before().begin(), tokenizer_.before().end());
    }
    DS_TRY(tokenizer_.Encode(document.text, cache, ids));
    if (!several || !piece.last) return {};
    if (const auto end = tokenizer_.end_of_text(); end.has_value()) {
      ids.push_back(*end);
      return {};
    }
    return tokenizer_.Encode("\n", cache, ids);
  }

  Documents& documents_;
  const token::Tokenizer& tokenizer_;
  TaskPool& pool_;
  Document rest_;  // what is being cut, from at_ on
  size_t at_ = 0;
  bool fresh_ = false;  // nothing of it was cut yet
  std::vector<Piece> pieces_;
  std::vector<Tile> tiles_;
  size_t tile_bytes_ = 0;
  std::vector<token::WordCache> caches_;  // a lane each
  EncodeProgress progress_;
};

}  // namespace

Status EncodeDocuments(Documents& documents, const token::Tokenizer& tokenizer, TaskPool& pool,
                       FunctionRef<Status(std::span<const int32_t>)> sink,
                       FunctionRef<bool(const EncodeProgress&)> progress) {
  Encoder encoder(documents, tokenizer, pool);
  while (true) {
    DS_ASSIGN(const std::span<const Tile> tiles, encoder.Next());
    for (const Tile& tile : tiles) DS_TRY(sink(tile.ids));
    if (!progress(encoder.progress())) return Error(Code::kCancelled, "interrupted");
    if (!tiles.empty()) continue;
    const EncodeProgress& done = encoder.progress();
    if (done.documents > 0 || done.unanswered == 0) return {};
    return InvalidArgument(
        "{}: has nothing to learn: no turn is the assistant's (role assistant, or from gpt) "
        "without "
        "a weight of 0, of {} conversations that are left out",
        documents.path(), done.unanswered);
  }
}

Result<std::unique_ptr<token::Tokenizer>> CharactersOf(std::span<Documents> sources) {
  token::CharacterSet characters;
  for (Documents& documents : sources) {
    if (documents.several()) DS_TRY(characters.Add("\n", "the end of a document"));
    for (Document document;;) {
      DS_ASSIGN(const bool more, documents.Next(document));
      if (!more) break;
      DS_TRY(characters.Add(document.text, document.what));
    }
    documents.Rewind();
  }
  return characters.Make();
}

}  // namespace ds::data
