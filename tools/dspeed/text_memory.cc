#include "text_memory.h"

#include <algorithm>
#include <filesystem>

#include "data/encode.h"
#include "progress.h"

namespace ds::tool {
namespace {

// Of the file, or of the ids that lie beside an index of Megatron.
int64_t MappedBytes(const data::Source& source) {
  std::string path = source.path;
  std::error_code error;
  if (path.ends_with(".idx") && !source.text.has_value()) path.resize(path.size() - 4);
  if (path != source.path || !std::filesystem::exists(path, error)) path += ".bin";
  const auto bytes = std::filesystem::file_size(path, error);
  return error ? 0 : static_cast<int64_t>(bytes);
}

// Ids as data::Corpus keeps them: room for half as many as the text has bytes, twice as much each
// time that there are more, and while they move, both.
class IdBytes {
 public:
  IdBytes(int64_t room, int64_t width) : room_(std::max<int64_t>(1, room)), width_(width) {}

  // What is held for a moment while so many more come; 0: they have room.
  int64_t Add(int64_t ids) {
    count_ += ids;
    int64_t moved = 0;
    for (; room_ < count_; room_ *= 2) moved = 2 * room_ * width_;
    return moved;
  }
  int64_t held() const { return count_ * width_; }
  int64_t count() const { return count_; }

 private:
  int64_t room_, width_, count_ = 0;
};

// `before`: what is in memory already of the texts before it.
Result<TextMemory> MeasureIds(const data::Source& source, const token::Tokenizer& tokenizer,
                              int64_t tokens, int64_t before, TaskPool& pool) {
  TextMemory memory;
  DS_ASSIGN(auto documents, data::Documents::Open(source.path, *source.text, source.field));
  const bool chat = *source.text == data::TextFormat::kChat;
  IdBytes ids(documents.bytes() / 2, tokenizer.vocab() <= 65536 && !chat ? 2 : 4);
  int64_t earlier = 0;  // held while the encoder was at a batch
  const auto note = [&](int64_t process, int64_t held) {
    memory.reading = std::max(memory.reading, process + before + held);
  };
  DS_TRY(data::EncodeDocuments(
      documents, tokenizer, pool,
      [&](std::span<const int32_t> piece) -> Status {
        if (const int64_t moved = ids.Add(std::ssize(piece)); moved > 0) {
          note(ResidentBytes(), moved);
        }
        return {};
      },
      [&](const data::EncodeProgress&) {
        note(PeakResidentBytes(), earlier);
        earlier = ids.held();
        note(ResidentBytes(), earlier);
        return true;
      }));
  memory.held = ids.held();
  // Any two of its sequences together are longer than one may be.
  if (chat) memory.held += (2 * ids.count() / tokens + 2) * int64_t{sizeof(data::Window)};
  return memory;
}

}  // namespace

Result<TextMemory> MeasureTexts(std::span<const data::WeightedSource> texts,
                                const token::Tokenizer* tokenizer, int64_t tokens, TaskPool& pool) {
  TextMemory memory;
  int64_t read = 0;  // of what is held: bytes of a text that are tokens as they lie come later
  for (const auto& [source, weight] : texts) {
    const bool ids = tokenizer == nullptr || !source.text.has_value();
    const bool bytes = !ids && std::string_view(tokenizer->unit()) == "byte" &&
                       *source.text == data::TextFormat::kText;
    TextMemory one;
    if (ids || bytes) {
      one.held = MappedBytes(source);
    } else {
      DS_ASSIGN(one, MeasureIds(source, *tokenizer, tokens, read, pool));
    }
    memory.held += one.held;
    memory.reading = std::max(memory.reading, one.reading);
    if (!bytes) read += one.held;
  }
  return memory;
}

}  // namespace ds::tool
