#include "token/tokenizer.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "base/json.h"
#include "token/bpe_tokenizer.h"
#include "token/plain_tokenizers.h"
#include "token/tiktoken.h"
#include "token/tokenizer_json.h"

namespace ds::token {
namespace {

constexpr int64_t kMaxFile = int64_t{256} << 20;
constexpr const char* kCompanions[] = {"tokenizer_config.json", "special_tokens_map.json",
                                       kChatTemplate};

using Made = Result<std::unique_ptr<Tokenizer>>;

bool IsFile(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

// A key of tokenizer_config.json, or null.
Json Configured(const std::vector<TokenizerFile>& files, const char* key) {
  for (const TokenizerFile& file : files) {
    if (file.name != "tokenizer_config.json") continue;
    // transformers writes model_max_length 10^30 where there is none.
    auto config = ParseJson(file.text, file.name, {.huge_integers = true});
    if (config.ok() && config->is_object()) return config->value(key, Json());
  }
  return {};
}

// The end of a text as the configuration beside the tokenizer names it, where no added token has a
// name that says so.
void FindEndOfText(BpeParts& parts) {
  if (!parts.end_of_text.has_value()) {
    Json eos = Configured(parts.files, "eos_token");
    if (eos.is_object()) eos = eos.value("content", Json());
    for (const AddedToken& token : parts.added) {
      if (eos == token.content) parts.end_of_text = token.id;
    }
  }
}

Made OpenJson(const std::string& path) {
  DS_ASSIGN(std::string text, ReadFile(path, kMaxFile));
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  return MakeJsonTokenizer(std::move(text), path,
                           ReadCompanions(folder.empty() ? "." : folder.string()));
}

Made OpenTiktoken(const std::string& path, std::optional<SplitRule> rule) {
  DS_ASSIGN(const std::string text, ReadFile(path, kMaxFile));
  DS_ASSIGN(BpeParts parts, ParseTiktoken(text, path, rule));
  return BpeTokenizer::Create(std::move(parts));
}

Made OpenChars(const std::string& path) {
  DS_ASSIGN(const std::string text, ReadFile(path));
  return ParseCharTokenizer(text, path);
}

Made OpenFolder(const std::string& folder) {
  if (const std::string json = folder + "/" + kTokenizerJson; IsFile(json)) return OpenJson(json);
  if (IsFile(folder + "/characters.json")) return OpenChars(folder + "/characters.json");
  if (IsFile(folder + "/tokenizer.model")) {
    return OpenTiktoken(folder + "/tokenizer.model", std::nullopt);
  }
  const char* const more =
      IsFile(folder + "/vocab.json")
          ? " (vocab.json is not read: transformers' tokenizer.save_pretrained "
            "writes a tokenizer.json)"
          : "";
  return Error(Code::kNotFound, "{}: holds no tokenizer.json, characters.json or tokenizer.model{}",
               folder, more);
}

}  // namespace

Made MakeJsonTokenizer(std::string text, std::string_view what,
                       std::vector<TokenizerFile> companions) {
  DS_ASSIGN(BpeParts parts, ParseTokenizerJson(text, what));
  parts.files.push_back({kTokenizerJson, std::move(text)});
  for (TokenizerFile& file : companions) parts.files.push_back(std::move(file));
  FindEndOfText(parts);
  return BpeTokenizer::Create(std::move(parts));
}

bool HasChatTemplate(const Tokenizer& tokenizer) {
  const auto& files = tokenizer.files();
  const Json configured = Configured(files, "chat_template");  // a text, or several by name
  const bool none =
      configured.is_null() || (configured.is_string() && configured.get<std::string>().empty());
  return !none || std::any_of(files.begin(), files.end(), [](const TokenizerFile& file) {
    return file.name == kChatTemplate && !file.text.empty();
  });
}

std::vector<TokenizerFile> ReadCompanions(const std::string& folder) {
  std::vector<TokenizerFile> files;
  for (const char* name : kCompanions) {
    const std::string path = folder + "/" + name;
    if (!IsFile(path)) continue;
    auto text = ReadFile(path, int64_t{1} << 24);
    if (text.ok()) files.push_back({name, std::move(text).Take()});
  }
  return files;
}

Made Tokenizer::Open(const std::string& name) {
  if (name == "bytes") return MakeByteTokenizer();
  const size_t colon = name.find(':');
  if (colon != name.npos) {
    if (const auto rule = SplitRuleOfName(std::string_view(name).substr(0, colon))) {
      return OpenTiktoken(name.substr(colon + 1), *rule);
    }
  }
  std::error_code ignored;
  if (std::filesystem::is_directory(name, ignored)) return OpenFolder(name);
  const std::string file = std::filesystem::path(name).filename().string();
  if (file == "characters.json") return OpenChars(name);
  return file.ends_with(".json") ? OpenJson(name) : OpenTiktoken(name, std::nullopt);
}

std::vector<std::string> TokenizerFilesOf(const std::string& folder) {
  std::vector<std::string> names;
  for (const char* name : {kTokenizerJson, "characters.json", "tokenizer.model"}) {
    if (IsFile(folder + "/" + name)) names.emplace_back(name);
  }
  for (const char* name : kCompanions) {
    if (IsFile(folder + "/" + name)) names.emplace_back(name);
  }
  if (IsFile(folder + "/added_tokens.json")) names.emplace_back("added_tokens.json");
  return names;
}

void Tokenizer::Carry(TokenizerFile file) {
  std::erase_if(files_, [&](const TokenizerFile& one) { return one.name == file.name; });
  files_.push_back(std::move(file));
}

Result<Ids> Tokenizer::Encode(std::string_view text, bool whole) const {
  Ids ids;
  WordCache cache;
  if (whole) ids.assign(before().begin(), before().end());
  DS_TRY(Encode(text, cache, ids));
  if (whole) ids.insert(ids.end(), behind().begin(), behind().end());
  return ids;
}

Result<std::string> Tokenizer::Decode(std::span<const int32_t> ids, bool with_special) const {
  std::string text;
  for (const int32_t id : ids) {
    if (with_special || !IsSpecial(id)) DS_TRY(DecodeOne(id, text));
  }
  size_t spaces = 0;
  while (spaces < leading_spaces() && text.substr(spaces, 1) == " ") ++spaces;
  return text.substr(spaces);
}

Status Tokenizer::AddTo(FolderChange& change, const std::string& folder) const {
  if (!files().empty()) DS_TRY(MakeDirectories(folder));
  for (const TokenizerFile& file : files()) DS_TRY(change.Add(folder + "/" + file.name, file.text));
  return {};
}

Status Tokenizer::Save(const std::string& folder) const {
  FolderChange change;
  DS_TRY(AddTo(change, folder));
  return change.Commit();
}

}  // namespace ds::token
