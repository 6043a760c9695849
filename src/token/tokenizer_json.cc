#include "token/tokenizer_json.h"

#include <algorithm>

#include "base/json.h"
#include "base/utf8.h"
#include "token/byte_alphabet.h"

namespace ds::token {
namespace {

// Ids may leave holes, but not so many that a small file asks for much memory.
constexpr int64_t kMostHoles = 1 << 16;

template <typename... Args>
Status Refuse(fmt::format_string<Args...> format, Args&&... args) {
  return {Code::kUnsupported, fmt::format(format, std::forward<Args>(args)...)};
}

constexpr char kSpace[] = "\u2581";  // of SentencePiece

// The value of a key, null where it is absent.
const Json& At(const Json& object, const char* key) {
  static const Json null;
  if (!object.is_object()) return null;
  const auto found = object.find(key);
  return found == object.end() ? null : *found;
}

std::string TypeOf(const Json& part) {
  const Json& type = At(part, "type");
  return type.is_string() ? type.get<std::string>() : std::string(JsonTypeName(type));
}

// The parts of a Sequence, or the one that stands alone, or none.
std::vector<const Json*> PartsOf(const Json& root, const char* key, const char* list) {
  const Json& part = At(root, key);
  std::vector<const Json*> parts;
  if (part.is_null()) return parts;
  if (TypeOf(part) != "Sequence" || !At(part, list).is_array()) return {&part};
  for (const Json& one : At(part, list)) parts.push_back(&one);
  return parts;
}

class Reader {
 public:
  explicit Reader(const Json& root) : root_(root) {}

  Result<BpeParts> Read() {
    if (!root_.is_object())
      return InvalidArgument("is {}, expected an object", JsonTypeName(root_));
    DS_TRY(CheckModel());
    DS_TRY(ReadPreTokenizer());
    DS_TRY(ReadNormalizer());
    DS_TRY(ReadVocab());
    DS_TRY(ReadBytes());
    DS_TRY(ReadMerges());
    DS_TRY(ReadAdded());
    DS_TRY(ReadDecoder());
    DS_TRY(ReadPostProcessor());
    return std::move(parts_);
  }

 private:
  // What it leaves out has no effect on ids: sizes of caches. Nor are truncation and padding of the
  // file read: transformers sets them anew with each call, and how long a sequence is the user
  // says.
  Status CheckModel() {
    const Json& model = At(root_, "model");
    if (!model.is_object()) return InvalidArgument("model is {}", JsonTypeName(model));
    const Json& type = At(model, "type");  // absent in files of old releases
    if (!type.is_null() && TypeOf(model) != "BPE") {
      return Refuse("model.type is {}, expected BPE", TypeOf(model));
    }
    const Json& dropout = At(model, "dropout");
    if (!dropout.is_null() && !(dropout.is_number() && dropout.get<double>() == 0)) {
      return Refuse("model.dropout is {}, expected null", DumpJson(dropout, -1).substr(0, 40));
    }
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const Json& affix = At(model, key);
      if (!affix.is_null() && !(affix.is_string() && affix.get<std::string>().empty())) {
        return Refuse("model.{} is {}, expected null", key, DumpJson(affix, -1).substr(0, 40));
      }
    }
    if (At(model, "ignore_merges").is_null()) return {};
    return ReadKey(model, "ignore_merges", parts_.ignore_merges);
  }

  Status ReadPreTokenizer() {
    const auto parts = PartsOf(root_, "pre_tokenizer", "pretokenizers");
    const bool metaspace = parts.size() == 1 && TypeOf(*parts[0]) == "Metaspace";
    if (parts.empty() || metaspace) {
      parts_.kind = BpeParts::Kind::kCharacters;
      if (At(At(root_, "model"), "byte_fallback") != true) {
        return Refuse(
            "pre_tokenizer is {} and model.byte_fallback is not true: neither of the two "
            "kinds that are read",
            metaspace ? "Metaspace" : "null");
      }
      if (parts_.ignore_merges) {
        return Refuse("model.ignore_merges is true beside byte_fallback, expected false");
      }
      return metaspace ? ReadMetaspace(*parts[0]) : Status();
    }
    for (const Json* part : parts) {
      const std::string type = TypeOf(*part);
      const bool last = part == parts.back();
      if (type == "Split" && part == parts.front() && !last) {
        DS_TRY(ReadSplit(*part));
      } else if (type == "Digits" && part == parts.front() && !last) {
        if (At(*part, "individual_digits") != true) {
          return Refuse("pre_tokenizer: Digits has individual_digits {}, expected true",
                        DumpJson(At(*part, "individual_digits"), -1).substr(0, 40));
        }
        parts_.split = SplitRule::kSmolLm;
      } else if (type == "ByteLevel" && last && parts.size() <= 2) {
        DS_TRY(ReadByteLevel(*part, parts.size() == 2 ? TypeOf(*parts[0]) : ""));
      } else {
        return Refuse(
            "pre_tokenizer: {} {} of {}, expected ByteLevel, or a Split or Digits before it, or "
            "Metaspace",
            type, part == parts.front() ? "first" : "later", parts.size());
      }
    }
    return {};
  }

  // What the normalizer of older files does, but for texts that begin with a space, and, with the
  // scheme "first", behind added tokens.
  Status ReadMetaspace(const Json& part) {
    std::string scheme = "always";
    bool prefix = true, split = true;
    DS_TRY(RequireKey(part, "replacement", parts_.space));
    DS_TRY(ReadKey(part, "prepend_scheme", scheme));
    DS_TRY(ReadKey(part, "add_prefix_space", prefix));  // of old releases
    DS_TRY(ReadKey(part, "split", split));
    if (scheme != "always" && scheme != "first" && scheme != "never") {
      return Refuse(
          "pre_tokenizer: Metaspace has prepend_scheme {}, expected always, first or never",
          Shown(scheme));
    }
    if (split) return Refuse("pre_tokenizer: Metaspace has split true, expected false");
    if (!prefix && scheme != "never") {
      return Refuse("pre_tokenizer: Metaspace has add_prefix_space false, prepend_scheme {}",
                    scheme);
    }
    DS_TRY(CheckSpace("pre_tokenizer: Metaspace"));
    parts_.metaspace = true;
    parts_.begins_behind_added = scheme != "first";
    if (scheme != "never") parts_.prepend = parts_.space;
    return {};
  }

  Status CheckSpace(const char* what) const {
    if (parts_.space == kSpace) return {};
    return Refuse("{} puts {} for a space, expected {}", what, Shown(parts_.space), Shown(kSpace));
  }

  Status ReadSplit(const Json& part) {
    const Json& pattern = At(At(part, "pattern"), "Regex");
    if (!pattern.is_string()) {
      return Refuse("pre_tokenizer: a Split by {}, expected by a Regex",
                    DumpJson(At(part, "pattern"), -1).substr(0, 60));
    }
    const auto rule = FindSplitRule(pattern.get<std::string>());
    if (!rule.has_value()) {
      return Refuse("pre_tokenizer: the pattern {} is none of those of gpt2, llama3 and qwen2",
                    DumpJson(pattern, -1).substr(0, 300));
    }
    const Json &behavior = At(part, "behavior"), &invert = At(part, "invert");
    if (behavior != "Isolated" || invert == true) {
      return Refuse("pre_tokenizer: Split has behavior {}, invert {}, expected Isolated and false",
                    DumpJson(behavior, -1), DumpJson(invert, -1));
    }
    parts_.split = *rule;
    return {};
  }

  // `behind`: the type of what stands before it, "" where nothing does.
  Status ReadByteLevel(const Json& part, const std::string& behind) {
    bool prefix = true, regex = true;
    DS_TRY(ReadKey(part, "add_prefix_space", prefix));
    DS_TRY(ReadKey(part, "use_regex", regex));
    if (!behind.empty() && (prefix || regex != (behind == "Digits"))) {
      return Refuse(
          "pre_tokenizer: ByteLevel behind {} has add_prefix_space {}, use_regex {}, expected "
          "false "
          "and {}",
          behind, prefix, regex, behind == "Digits");
    }
    parts_.add_prefix_space = prefix;
    if (regex && behind.empty()) parts_.split = SplitRule::kGpt2;
    return {};
  }

  Status ReadNormalizer() {
    const bool bytes = parts_.kind == BpeParts::Kind::kBytes;
    for (const Json* part : PartsOf(root_, "normalizer", "normalizers")) {
      const std::string type = TypeOf(*part);
      if (parts_.metaspace) {
        return Refuse("normalizer: {} before Metaspace, expected none", type);
      }
      if (type == "NFC" && bytes) {
        parts_.nfc = true;
      } else if (type == "Prepend" && !bytes && parts_.prepend.empty() && parts_.space.empty()) {
        DS_TRY(RequireKey(*part, "prepend", parts_.prepend));
      } else if (type == "Replace" && !bytes && parts_.space.empty() &&
                 At(At(*part, "pattern"), "String") == " ") {
        DS_TRY(RequireKey(*part, "content", parts_.space));
        DS_TRY(CheckSpace("normalizer: Replace"));
      } else {
        return Refuse("normalizer: {}, expected {}", DumpJson(*part, -1).substr(0, 100),
                      bytes ? "NFC or none" : "a Prepend and then a Replace of spaces");
      }
    }
    if (!bytes && parts_.space.empty()) return Refuse("normalizer: no Replace of spaces");
    return {};
  }

  // A token as text of the file, to its bytes.
  std::string BytesOf(const std::string& token, int32_t id) {
    std::string bytes;
    if (parts_.kind == BpeParts::Kind::kBytes) {
      if (!token.empty() && FromByteAlphabet(token, bytes)) return bytes;
      parts_.verbatim.insert(id);
      return token;
    }
    for (size_t at = 0; at < token.size();) {
      const size_t found = token.find(parts_.space, at);
      bytes += token.substr(at, found - at);
      if (found == token.npos) break;
      bytes += ' ';
      at = found + parts_.space.size();
    }
    return bytes;
  }

  Status Place(const std::string& token, int64_t id, std::string bytes) {
    if (id < 0 || id >= most_ids_) {
      return InvalidArgument("token {} has id {}, expected 0 to {}", Shown(token), id,
                             most_ids_ - 1);
    }
    const auto at = static_cast<size_t>(id);
    if (at >= parts_.tokens.size()) {
      parts_.tokens.resize(at + 1);
      named_.resize(at + 1);
    }
    if (named_[at]) return InvalidArgument("token {} has id {}, as another", Shown(token), id);
    named_[at] = true;
    parts_.tokens[at] = std::move(bytes);
    return {};
  }

  bool IsNamed(int64_t id) const {
    return id < std::ssize(named_) && named_[static_cast<size_t>(id)];
  }

  static std::string Shown(const std::string& token) {
    return DumpJson(Json(token.size() > 60 ? token.substr(0, 60) + "..." : token), -1);
  }

  Status ReadVocab() {
    const Json& vocab = At(At(root_, "model"), "vocab");
    if (!vocab.is_object()) return InvalidArgument("model.vocab is {}", JsonTypeName(vocab));
    const Json& added = At(root_, "added_tokens");
    most_ids_ = static_cast<int64_t>(vocab.size() + added.size()) + kMostHoles;
    ids_.reserve(vocab.size());
    for (const auto& [token, value] : vocab.items()) {
      if (!value.is_number_unsigned() || value.get<uint64_t>() > INT32_MAX) {
        return InvalidArgument("model.vocab: token {} has id {}", Shown(token),
                               DumpJson(value, -1).substr(0, 40));
      }
      const auto id = value.get<int32_t>();
      DS_TRY(Place(token, id, BytesOf(token, id)));
      ids_[token] = id;
    }
    return {};
  }

  Status ReadBytes() {
    for (unsigned byte = 0; byte < 256; ++byte) {
      std::string name;
      if (parts_.kind == BpeParts::Kind::kBytes) {
        name = ToByteAlphabet(std::string(1, static_cast<char>(byte)));
      } else {
        name = fmt::format("<0x{:02X}>", byte);
      }
      const auto found = ids_.find(name);
      parts_.byte_ids[byte] = found == ids_.end() ? -1 : found->second;
      if (found == ids_.end()) DS_TRY(FindUnknown(byte));
      if (parts_.kind == BpeParts::Kind::kBytes) continue;
      if (found == ids_.end()) return InvalidArgument("model.vocab has no token {}", name);
      parts_.tokens[static_cast<size_t>(found->second)] = std::string(1, static_cast<char>(byte));
    }
    if (parts_.kind == BpeParts::Kind::kCharacters) {
      for (const auto& [token, id] : ids_) {
        if (!token.empty() && ReadUtf8(token, 0).bytes == token.size()) {
          parts_.characters[token] = id;
        }
      }
    }
    return {};
  }

  // What stands for a byte that has no token, if anything does.
  Status FindUnknown(unsigned byte) {
    const Json &model = At(root_, "model"), &token = At(model, "unk_token");
    const bool in_utf8 = byte != 0xC0 && byte != 0xC1 && byte < 0xF5;
    if (parts_.kind != BpeParts::Kind::kBytes || !in_utf8) return {};
    if (At(model, "byte_fallback") == true) {
      return Refuse("model.byte_fallback is true, and byte 0x{:02X} has no token of its own", byte);
    }
    if (!token.is_string()) return {};
    const auto found = ids_.find(token.get<std::string>());
    if (found == ids_.end() || At(model, "fuse_unk") == true) {
      return Refuse(
          "model.unk_token {} {}, and byte 0x{:02X} has no token", Shown(token.get<std::string>()),
          found == ids_.end() ? "is not in the vocabulary" : "stands for runs (fuse_unk)", byte);
    }
    parts_.byte_ids[byte] = found->second;
    return {};
  }

  Status ReadMerges() {
    const Json& merges = At(At(root_, "model"), "merges");
    if (!merges.is_array()) return InvalidArgument("model.merges is {}", JsonTypeName(merges));
    parts_.merges.reserve(merges.size());
    std::string left, right;
    for (const Json& merge : merges) {
      if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
        left = merge[0].get<std::string>();
        right = merge[1].get<std::string>();
      } else {
        const std::string text = merge.is_string() ? merge.get<std::string>() : "";
        const size_t space = text.find(' ');
        if (space == text.npos || text.find(' ', space + 1) != text.npos) {
          return InvalidArgument("model.merges[{}] is {}, expected \"a b\" or [\"a\", \"b\"]",
                                 parts_.merges.size(), DumpJson(merge, -1).substr(0, 60));
        }
        left = text.substr(0, space);
        right = text.substr(space + 1);
      }
      Merge found{-1, -1, -1, static_cast<int32_t>(parts_.merges.size())};
      DS_TRY(FindToken(left, found.left));
      DS_TRY(FindToken(right, found.right));
      DS_TRY(FindToken(left + right, found.into));
      parts_.merges.push_back(found);
    }
    return {};
  }

  Status FindToken(const std::string& token, int32_t& id) const {
    const auto found = ids_.find(token);
    if (found == ids_.end()) {
      return InvalidArgument("model.merges[{}]: {} is not in the vocabulary", parts_.merges.size(),
                             Shown(token));
    }
    id = found->second;
    return {};
  }

  Status ReadAdded() {
    const Json& list = At(root_, "added_tokens");
    if (!list.is_null() && !list.is_array()) {
      return InvalidArgument("added_tokens is {}", JsonTypeName(list));
    }
    int64_t last = -1;
    for (const Json& entry : list) {
      AddedToken token;
      int64_t id = -1;
      DS_TRY(RequireKey(entry, "id", id));
      DS_TRY(RequireKey(entry, "content", token.content));
      DS_TRY(ReadKey(entry, "special", token.special));
      token.normalized = !token.special;
      DS_TRY(ReadKey(entry, "normalized", token.normalized));
      DS_TRY(ReadKey(entry, "single_word", token.single_word));
      DS_TRY(ReadKey(entry, "lstrip", token.lstrip));
      DS_TRY(ReadKey(entry, "rstrip", token.rstrip));
      const auto known = ids_.find(token.content);
      if (known != ids_.end() && known->second != id) {
        return InvalidArgument("added token {} has id {}, but {} in the vocabulary",
                               Shown(token.content), id, known->second);
      }
      // Its id is how Hugging Face's reader counts, whatever the file says.
      const auto vocab = static_cast<int64_t>(ids_.size());
      const int64_t next = last >= vocab ? last + 1 : vocab;
      if (known == ids_.end() && id != next && id >= 0 && id < most_ids_ && !IsNamed(id)) {
        return Refuse("added token {} has id {}, but is the one of id {} by where it stands",
                      Shown(token.content), id, next);
      }
      const bool prepended = token.normalized && !parts_.metaspace;
      std::string bytes =
          BytesOf((prepended ? parts_.prepend : "") + token.content, static_cast<int32_t>(id));
      const bool is_byte = parts_.kind == BpeParts::Kind::kCharacters &&
                           std::find(parts_.byte_ids.begin(), parts_.byte_ids.end(), id) !=
                               parts_.byte_ids.end();  // and is decoded as that
      if (known == ids_.end()) {
        DS_TRY(Place(token.content, id, std::move(bytes)));
      } else if (!is_byte) {
        parts_.tokens[static_cast<size_t>(id)] = std::move(bytes);
      }
      last = std::max(last, id);
      token.id = static_cast<int32_t>(id);
      parts_.added.push_back(std::move(token));
    }
    for (const char* name : {"<|endoftext|>", "<|end_of_text|>", "</s>"}) {
      for (const AddedToken& token : parts_.added) {
        if (token.content == name && !parts_.end_of_text.has_value()) parts_.end_of_text = token.id;
      }
    }
    return {};
  }

  // Says how text is made of tokens; the ids do not depend on it.
  Status ReadDecoder() {
    const auto parts = PartsOf(root_, "decoder", "decoders");
    if (parts_.kind == BpeParts::Kind::kBytes) {
      if (parts.size() == 1 && TypeOf(*parts[0]) == "ByteLevel") return {};
      return Refuse("decoder: {}, expected ByteLevel",
                    parts.size() == 1 ? TypeOf(*parts[0]) : fmt::format("{} parts", parts.size()));
    }
    const auto is = [&](size_t i, const char* type) {
      return i < parts.size() && TypeOf(*parts[i]) == type;
    };
    const bool strips = is(3, "Strip") && At(*parts[3], "content") == " " &&
                        At(*parts[3], "stop") == 0 && At(*parts[3], "start").is_number_unsigned();
    const bool known = is(0, "Replace") && At(*parts[0], "content") == " " &&
                       At(At(*parts[0], "pattern"), "String") == kSpace && is(1, "ByteFallback") &&
                       is(2, "Fuse") && (parts.size() == 3 || (parts.size() == 4 && strips));
    if (!known) {
      return Refuse(
          "decoder: {}, expected a Sequence of Replace ({} by a space), ByteFallback, Fuse and, if "
          "any, Strip (of spaces at the start)",
          DumpJson(At(root_, "decoder"), -1).substr(0, 300), Shown(kSpace));
    }
    if (strips) parts_.leading_spaces = At(*parts[3], "start").get<size_t>();
    return {};
  }

  Status ReadPostProcessor() {
    for (const Json* part : PartsOf(root_, "post_processor", "processors")) {
      const std::string type = TypeOf(*part);
      if (type == "ByteLevel") continue;  // of offsets into the text alone
      if (type != "TemplateProcessing") {
        return Refuse("post_processor: {} is not known, expected TemplateProcessing", type);
      }
      const Json& single = At(*part, "single");
      if (!single.is_array()) {
        return InvalidArgument("post_processor: single is {}", JsonTypeName(single));
      }
      int64_t texts = 0;
      for (const Json& item : single) {
        if (item.is_object() && item.contains("Sequence")) {
          texts += At(item["Sequence"], "id") == "A" ? 1 : 2;
          continue;
        }
        DS_TRY(AppendSpecial(At(*part, "special_tokens"), At(item, "SpecialToken"),
                             texts > 0 ? parts_.behind : parts_.before));
      }
      if (texts != 1) {
        return Refuse("post_processor: single is {}, expected the text, A, once",
                      DumpJson(single, -1).substr(0, 200));
      }
    }
    return {};
  }

  Status AppendSpecial(const Json& tokens, const Json& item, Ids& ids) const {
    std::string name;
    if (!item.is_object()) {
      return InvalidArgument("post_processor: an item is {}, expected a SpecialToken",
                             JsonTypeName(item));
    }
    DS_TRY(RequireKey(item, "id", name));
    const Json& list = At(At(tokens, name.c_str()), "ids");
    if (!list.is_array()) {
      return InvalidArgument("post_processor: special token {} has no ids", Shown(name));
    }
    for (const Json& id : list) {
      if (!id.is_number_unsigned() || id.get<uint64_t>() >= parts_.tokens.size()) {
        return InvalidArgument("post_processor: special token {} has id {}, the vocabulary has {}",
                               Shown(name), DumpJson(id, -1).substr(0, 40), parts_.tokens.size());
      }
      ids.push_back(id.get<int32_t>());
    }
    return {};
  }

  const Json& root_;
  BpeParts parts_;
  int64_t most_ids_ = 0;
  std::unordered_map<std::string, int32_t> ids_;  // of model.vocab
  std::vector<bool> named_;                       // the id has a token
};

}  // namespace

JsonLimits TokenizerJsonLimits() {
  JsonLimits limits;
  limits.comments = false;
  limits.max_bytes = int64_t{256} << 20;
  return limits;
}

Result<BpeParts> ParseTokenizerJson(std::string_view text, std::string_view what) {
  DS_ASSIGN(const Json root, ParseJson(text, what, TokenizerJsonLimits()));
  auto parts = Reader(root).Read();
  if (!parts.ok()) return Error(parts.status().code(), "{}: {}", what, parts.status().message());
  return parts;
}

nlohmann::ordered_json ToJson(const AddedToken& token) {
  return {{"id", token.id},          {"content", token.content}, {"single_word", token.single_word},
          {"lstrip", token.lstrip},  {"rstrip", token.rstrip},   {"normalized", token.normalized},
          {"special", token.special}};
}

std::string ToTokenizerJson(const BpeParts& parts) {
  using Ordered = nlohmann::ordered_json;
  Ordered added = Ordered::array(), merges = Ordered::array();
  std::vector<bool> is_added(parts.tokens.size());
  for (const AddedToken& token : parts.added) {
    is_added[static_cast<size_t>(token.id)] = true;
    added.push_back(ToJson(token));
  }
  const auto spelled = [&](int32_t id) {
    const std::string& token = parts.tokens[static_cast<size_t>(id)];
    return parts.verbatim.contains(id) ? token : ToByteAlphabet(token);
  };
  for (const Merge& merge : parts.merges) {
    merges.push_back({spelled(merge.left), spelled(merge.right)});
  }
  // Written by hand: an ordered object is searched from end to end for every key it is given.
  std::string vocab;
  int32_t count = 0;
  const auto write = [&](const std::string& token, int32_t id) {
    vocab += fmt::format("{}\n      {}: {}", count++ > 0 ? "," : "", Ordered(token).dump(), id);
  };
  for (int32_t id = 0; id < static_cast<int32_t>(parts.tokens.size()); ++id) {
    const auto at = static_cast<size_t>(id);
    const bool none = parts.tokens[at].empty() && !parts.verbatim.contains(id);
    if (!none && !is_added[at]) write(spelled(id), id);
  }
  // A reader counts on from there; where ids are others, the vocabulary has to say them.
  const bool counted =
      std::all_of(parts.added.begin(), parts.added.end(),
                  [next = count](const auto& token) mutable { return token.id == next++; });
  for (const AddedToken& token : parts.added) {
    if (!counted) write(token.content, token.id);
  }
  const bool digits = parts.split == SplitRule::kSmolLm;
  const Ordered byte_level = {{"type", "ByteLevel"},
                              {"add_prefix_space", parts.add_prefix_space},
                              {"trim_offsets", true},
                              {"use_regex", digits || parts.split == SplitRule::kGpt2}};
  Ordered before = byte_level;
  if (parts.split != SplitRule::kGpt2) {
    Ordered first = {{"type", "Digits"}, {"individual_digits", true}};
    if (!digits) {
      first = {{"type", "Split"},
               {"pattern", {{"Regex", SplitPattern(parts.split)}}},
               {"behavior", "Isolated"},
               {"invert", false}};
    }
    before = {{"type", "Sequence"}, {"pretokenizers", {first, byte_level}}};
  }
  Ordered nfc;
  if (parts.nfc) nfc["type"] = "NFC";
  const std::string tail = Ordered({{"dropout", nullptr},
                                    {"unk_token", nullptr},
                                    {"continuing_subword_prefix", nullptr},
                                    {"end_of_word_suffix", nullptr},
                                    {"fuse_unk", false},
                                    {"byte_fallback", false},
                                    {"ignore_merges", parts.ignore_merges}})
                               .dump();
  return fmt::format(
      "{{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n"
      "  \"added_tokens\": {},\n  \"normalizer\": {},\n  \"pre_tokenizer\": {},\n"
      "  \"post_processor\": {},\n  \"decoder\": {},\n"
      "  \"model\": {{\n    \"type\": \"BPE\",\n    {},\n    \"vocab\": {{{}\n    }},\n"
      "    \"merges\": {}\n  }}\n}}\n",
      added.dump(), nfc.dump(), before.dump(), byte_level.dump(), byte_level.dump(),
      tail.substr(1, tail.size() - 2), vocab, merges.dump());
}

}  // namespace ds::token
