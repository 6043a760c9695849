#include "data/documents.h"

#include <algorithm>
#include <filesystem>
#include <set>

namespace ds::data {
namespace {

std::string_view TextOf(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

namespace fs = std::filesystem;

// Of a link: that it leads somewhere, and not to a folder that is read already, or is being read:
// that could go on without end. `folders`: where those before it led.
Status CheckLink(const fs::path& link, std::set<fs::path>& folders) {
  std::error_code error, none;
  const fs::path target = fs::canonical(link, error);
  const fs::path from = error ? fs::path() : fs::canonical(link.parent_path(), error);
  if (error) {
    return Error(Code::kIo, "{}: is a link to {}: {}", link.string(),
                 fs::read_symlink(link, none).string(), error.message());
  }
  if (!fs::is_directory(target, none)) return {};
  const bool above =
      std::mismatch(target.begin(), target.end(), from.begin(), from.end()).first == target.end();
  if (!above && folders.insert(target).second) return {};
  return InvalidArgument("{}: is a link to {}, {}", link.string(), target.string(),
                         above ? "in which it lies" : "where another link leads");
}

// Names with a dot in front are for other programs: .git, .DS_Store.
Result<std::vector<std::string>> FilesBelow(const std::string& folder) {
  std::vector<std::string> paths;
  std::set<fs::path> folders;
  std::error_code error, none;
  fs::recursive_directory_iterator at(folder, fs::directory_options::follow_directory_symlink,
                                      error);
  for (; !error && at != fs::recursive_directory_iterator(); at.increment(error)) {
    if (at->path().filename().string().starts_with('.')) {
      at.disable_recursion_pending();
      continue;
    }
    if (at->is_symlink(none)) DS_TRY(CheckLink(at->path(), folders));
    if (at->is_regular_file(none)) paths.push_back(at->path().string());
  }
  if (error) return Error(Code::kIo, "{}: cannot read the folder: {}", folder, error.message());
  if (paths.empty()) return InvalidArgument("{}: holds no files", folder);
  std::sort(paths.begin(), paths.end());
  return paths;
}

// How a line says who said what: as OpenAI and transformers do, or as ShareGPT.
struct ChatKeys {
  const char *turns, *role, *content;
};
constexpr ChatKeys kMessages = {"messages", "role", "content"},
                   kShareGpt = {"conversations", "from", "value"};

constexpr std::string_view kRoles[] = {"system", "developer", "user",     "assistant",
                                       "tool",   "ipython",   "function", "observation"};
// Names that ShareGPT's files have for them.
constexpr std::pair<std::string_view, std::string_view> kOtherRoles[] = {
    {"human", "user"},     {"gpt", "assistant"},  {"chatgpt", "assistant"},
    {"bing", "assistant"}, {"bard", "assistant"}, {"model", "assistant"}};

// Of what may ask for more than words: that it is there and empty, as tables leave it.
bool SaysNothing(const Json& value) {
  if (!value.is_string()) return value.empty() || value == false;
  const auto& text = value.get_ref<const std::string&>();
  return text.empty() || text == "[]" || text == "{}";
}

// A name that is not known is refused: what an answerer of another name said would not be learned.
Status ReadRole(const Json& message, const ChatKeys& keys, std::string& role) {
  DS_TRY(RequireKey(message, keys.role, role));
  if (role == "function_call") {
    return Error(
        Code::kUnsupported,
        "is a function_call: only what is said is laid out and learned, no calls of tools");
  }
  for (const auto& [other, meant] : kOtherRoles) {
    if (role == other) role = meant;
  }
  if (std::find(std::begin(kRoles), std::end(kRoles), role) != std::end(kRoles)) return {};
  return Error(Code::kConfig,
               "{} is {}, expected system, developer, user, assistant or tool, or as ShareGPT has "
               "them human, gpt, chatgpt, bing, bard or model",
               keys.role, DumpJson(Json(role), -1).substr(0, 60));
}

// Of a line that has both, those that say something.
const ChatKeys* KeysOf(const Json& object) {
  const ChatKeys* found = nullptr;
  for (const ChatKeys* keys : {&kMessages, &kShareGpt}) {
    if (!object.contains(keys->turns)) continue;
    if (object[keys->turns].is_array() && !object[keys->turns].empty()) return keys;
    if (found == nullptr) found = keys;
  }
  return found;
}

Status ReadTurn(const Json& message, const ChatKeys& keys, Turn& turn) {
  // Some files have the one's list and the other's turns.
  const ChatKeys& other = &keys == &kMessages ? kShareGpt : kMessages;
  const ChatKeys& names =
      !message.contains(keys.role) && message.contains(other.role) ? other : keys;
  DS_TRY(ReadRole(message, names, turn.role));
  for (const char* calls : {"tool_calls", "function_call"}) {
    if (!message.contains(calls) || SaysNothing(message[calls])) continue;
    return Error(Code::kUnsupported,
                 "has {}: only what is said is laid out and learned, no calls of tools", calls);
  }
  DS_TRY(RequireKey(message, names.content, turn.content));
  const Json weight = message.value("weight", Json());
  if (turn.role != "assistant" || weight.is_null()) return {};
  if (weight != 0 && weight != 1) {
    return Error(Code::kConfig, "weight is {}, expected 0 (not learned) or 1",
                 DumpJson(weight, -1));
  }
  turn.learned = weight != 0;
  return {};
}

// What stands beside the turns and belongs to what is said: "system", which is the first turn then.
Status ReadBeside(const Json& object, std::vector<Turn>& turns) {
  if (object.contains("tools") && !SaysNothing(object["tools"])) {
    return Error(Code::kUnsupported,
                 "has tools: only what is said is laid out and learned, no calls of tools");
  }
  if (object.value("system", Json()).is_null()) return {};
  Turn turn;
  turn.role = "system";
  DS_TRY(ReadKey(object, "system", turn.content));
  if (turn.content.empty()) return {};
  if (turns.front().role == "system") {
    return Error(Code::kConfig, "has \"system\" and a first turn of that role");
  }
  turns.insert(turns.begin(), std::move(turn));
  return {};
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
    const Status status = ReadTurn(message, *keys, turn);
    if (!status.ok()) {
      return Error(status.code(), "{}[{}]: {}", keys->turns, &message - &messages[0],
                   status.message());
    }
    turns.push_back(std::move(turn));
  }
  return ReadBeside(object, turns);
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
