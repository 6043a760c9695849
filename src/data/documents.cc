#include "data/documents.h"

#include <algorithm>
#include <filesystem>

namespace ds::data {
namespace {

std::string_view TextOf(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

// Names with a dot in front are for other programs: .git, .DS_Store.
Result<std::vector<std::string>> FilesBelow(const std::string& folder) {
  namespace fs = std::filesystem;
  std::vector<std::string> paths;
  std::error_code error;
  fs::recursive_directory_iterator at(folder, error);
  for (; !error && at != fs::recursive_directory_iterator(); at.increment(error)) {
    const bool hidden = at->path().filename().string().starts_with('.');
    if (hidden && at->is_directory(error)) at.disable_recursion_pending();
    if (!hidden && at->is_regular_file(error)) paths.push_back(at->path().string());
  }
  if (error) return Error(Code::kIo, "{}: cannot read the folder: {}", folder, error.message());
  if (paths.empty()) return InvalidArgument("{}: holds no files", folder);
  std::sort(paths.begin(), paths.end());
  return paths;
}

// How a line says who said what: as OpenAI and transformers do, or as ShareGPT, which has names of
// its own for two.
struct ChatKeys {
  const char *turns, *role, *content, *user, *assistant;
};
constexpr ChatKeys kChatKeys[] = {{"messages", "role", "content", "user", "assistant"},
                                  {"conversations", "from", "value", "human", "gpt"}};

// Of a line that has both, those that say something.
const ChatKeys* KeysOf(const Json& object) {
  const ChatKeys* found = nullptr;
  for (const ChatKeys& keys : kChatKeys) {
    if (!object.contains(keys.turns)) continue;
    if (object[keys.turns].is_array() && !object[keys.turns].empty()) return &keys;
    if (found == nullptr) found = &keys;
  }
  return found;
}

Status ReadTurns(const Json& object, std::vector<Turn>& turns) {
  const ChatKeys* keys = KeysOf(object);
  if (keys == nullptr) {
    return Error(Code::kConfig,
                 "has neither \"messages\", an array of objects with role and content, nor "
                 "\"conversations\", of from and value");
  }
  const Json& messages = object[keys->turns];
  if (!messages.is_array()) {
    return Error(Code::kConfig, "{}: is {}, expected an array", keys->turns,
                 JsonTypeName(messages));
  }
  if (messages.empty()) return Error(Code::kConfig, "{}: is empty", keys->turns);
  for (const Json& message : messages) {
    Turn turn;
    DS_TRY(RequireKey(message, keys->role, turn.role));
    for (const char* calls : {"tool_calls", "function_call"}) {
      if (!message.contains(calls) || message[calls].empty()) continue;
      return Error(Code::kUnsupported,
                   "{}[{}] has {}: only what is said is laid out and learned, no calls of tools",
                   keys->turns, turns.size(), calls);
    }
    DS_TRY(RequireKey(message, keys->content, turn.content));
    if (turn.role == keys->user) turn.role = "user";
    if (turn.role == keys->assistant) turn.role = "assistant";
    const Json weight = message.value("weight", Json());
    if (turn.role == "assistant" && !weight.is_null()) {
      if (weight != 0 && weight != 1) {
        return Error(Code::kConfig, "{}[{}].weight is {}, expected 0 (not learned) or 1",
                     keys->turns, turns.size(), DumpJson(weight, -1));
      }
      turn.learned = weight != 0;
    }
    turns.push_back(std::move(turn));
  }
  return {};
}

}  // namespace

Result<Documents> Documents::Open(const std::string& path, TextFormat format, std::string field) {
  Documents documents(path, format, std::move(field));
  if (format == TextFormat::kFolder) {
    DS_ASSIGN(documents.paths_, FilesBelow(path));
  } else {
    documents.paths_.push_back(path);
  }
  for (const std::string& one : documents.paths_) {
    std::error_code error;
    const auto size = std::filesystem::file_size(one, error);
    if (error == std::errc::no_such_file_or_directory) {
      return Error(Code::kNotFound, "{}: cannot open: {}", one, error.message());
    }
    if (!error) documents.bytes_ += static_cast<int64_t>(size);
  }
  return documents;
}

void Documents::Rewind() {
  file_ = at_ = line_ = 0;
  done_ = 0;
  map_.reset();
}

Result<bool> Documents::Next(Document& document) {
  document = {};
  if (format_ == TextFormat::kJsonLines || format_ == TextFormat::kChat) return NextLine(document);
  if (file_ == paths_.size()) return false;
  DS_ASSIGN(MappedFile file, MappedFile::Open(paths_[file_]));
  const auto map = std::make_shared<const MappedFile>(std::move(file));
  document.text = TextOf(*map);
  document.what = paths_[file_++];
  document.owner = map;
  done_ += static_cast<int64_t>(document.text.size());
  return true;
}

Result<bool> Documents::NextLine(Document& document) {
  if (map_ == nullptr) {
    DS_ASSIGN(MappedFile file, MappedFile::Open(paths_[0]));
    map_ = std::make_shared<const MappedFile>(std::move(file));
  }
  const std::string_view text = TextOf(*map_);
  while (at_ < text.size()) {
    const size_t end = std::min(text.find('\n', at_), text.size());
    const std::string_view line = text.substr(at_, end - at_);
    at_ = std::min(end + 1, text.size());
    done_ = static_cast<int64_t>(at_);
    ++line_;
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    document.what = fmt::format("{}: line {}", paths_[0], line_);
    const Status status = ParseJsonLine(line, format_, field_, document);
    if (!status.ok()) return Error(status.code(), "{}: {}", document.what, status.message());
    return true;
  }
  return false;
}

Status ParseJsonLine(std::string_view line, TextFormat format, const std::string& field,
                     Document& document) {
  JsonLimits limits;
  limits.comments = false;
  limits.huge_integers = true;  // only the text is looked at
  if (const size_t at = line.find_first_not_of(" \t"); at != line.npos && line[at] == '[') {
    return Error(Code::kConfig,
                 "begins an array, expected an object a line (jq -c '.[]' makes them of an array)");
  }
  DS_ASSIGN(const Json object, ParseJson(line, "the object", limits));
  if (!object.is_object()) {
    return Error(Code::kConfig, "is {}, expected an object", JsonTypeName(object));
  }
  if (format != TextFormat::kChat) {
    auto text = std::make_shared<std::string>();
    if (!object.contains(field)) {
      return Error(Code::kConfig, "has no \"{}\": --field names another key{}", field,
                   KeysOf(object) != nullptr ? ", --format chat reads conversations" : "");
    }
    DS_TRY(RequireKey(object, field, *text));
    document.text = *text;
    document.owner = std::move(text);
    return {};
  }
  return ReadTurns(object, document.turns);
}

}  // namespace ds::data
