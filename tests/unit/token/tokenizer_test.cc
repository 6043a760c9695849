#include "token/tokenizer.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "small_bpe.h"
#include "support/sanitizer.h"
#include "support/temp_dir.h"
#include "token/byte_alphabet.h"
#include "token/plain_tokenizers.h"

namespace ds::token {
namespace {

using test::TempDir;

Json SmallJson() {
  BpeParts parts = SmallBpe({{"a", "b"}, {"ab", "c"}, {" ", "ab"}});
  AddToken(parts, {.content = "<|endoftext|>", .normalized = false, .special = true});
  return *ParseJson(ToTokenizerJson(parts), "t");
}

// What a file with this change is refused for; "" where it is not.
std::string Refusal(const std::string& pointer, const Json& value) {
  Json json = SmallJson();
  json[Json::json_pointer(pointer)] = value;
  return ParseTokenizerJson(DumpJson(json), "t").status().message();
}

TEST(TokenizerJson, WritesWhatItReads) {
  for (const SplitRule rule :
       {SplitRule::kGpt2, SplitRule::kLlama3, SplitRule::kQwen2, SplitRule::kSmolLm}) {
    BpeParts parts = SmallBpe({{"a", "b"}, {" ", "ab"}, {"\xe4", "\xb8"}}, rule);
    parts.nfc = rule == SplitRule::kQwen2;
    parts.ignore_merges = rule == SplitRule::kLlama3;
    AddToken(parts, {.content = "<x>", .lstrip = true, .normalized = false, .special = true});
    auto read = ParseTokenizerJson(ToTokenizerJson(parts), "t");
    ASSERT_TRUE(read.ok()) << read.status().message();
    EXPECT_EQ(read->tokens, parts.tokens);
    EXPECT_EQ(read->byte_ids, parts.byte_ids);
    EXPECT_EQ(read->split, rule);
    EXPECT_EQ(read->nfc, parts.nfc);
    EXPECT_EQ(read->ignore_merges, parts.ignore_merges);
    ASSERT_EQ(read->merges.size(), 3u);
    EXPECT_EQ(read->merges[1].into, 257);
    ASSERT_EQ(read->added.size(), 1u);
    EXPECT_TRUE(read->added[0].lstrip && read->added[0].special && !read->added[0].normalized);
    EXPECT_EQ(ToTokenizerJson(*read), ToTokenizerJson(parts));
  }
}

// As cl100k has: a reader that counts on would give what was added the id of the hole.
TEST(TokenizerJson, WhatIsAddedBehindAHoleKeepsItsId) {
  BpeParts parts = SmallBpe({{"a", "b"}});
  AddToken(parts, {.content = "<x>", .normalized = false, .special = true});
  EXPECT_FALSE(ParseJson(ToTokenizerJson(parts), "t")->at("model")["vocab"].contains("<x>"));
  parts = SmallBpe({{"a", "b"}});
  parts.tokens.emplace_back();
  AddToken(parts, {.content = "<x>", .normalized = false, .special = true});
  AddToken(parts, {.content = "y z", .normalized = false});
  EXPECT_EQ(ParseJson(ToTokenizerJson(parts), "t")->at("model")["vocab"]["y z"], 259);
  auto read = ParseTokenizerJson(ToTokenizerJson(parts), "t");
  ASSERT_TRUE(read.ok()) << read.status().message();
  const auto made = BpeTokenizer::Create(*read).Take();
  EXPECT_EQ(*made->Encode("ab<x>y z"), (Ids{256, 258, 259}));
  EXPECT_EQ(*made->Decode(Ids{258, 259}), "<x>y z");
}

// A token that is no bytes in the alphabet stands for its own text; it is no byte's token.
TEST(TokenizerJson, TokensOutsideTheAlphabetKeepTheirNames) {
  Json json = *ParseJson(ToTokenizerJson(SmallBpe({{"a", "b"}})), "t");
  json["model"]["vocab"][""] = 257;
  json["model"]["vocab"]["\x7f"] = 258;
  json["model"]["vocab"]["a \u4e16"] = 259;
  auto read = ParseTokenizerJson(DumpJson(json), "t");
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->tokens[127], "\x7f");
  EXPECT_EQ(read->tokens[258], "\x7f");
  EXPECT_EQ(read->tokens[259], "a \u4e16");
  EXPECT_EQ(read->byte_ids[0x7f], 127);
  EXPECT_EQ(ParseJson(ToTokenizerJson(*read), "t")->at("model")["vocab"], json["model"]["vocab"]);
}

TEST(TokenizerJson, RefusesByNameWhatItDoesNotDo) {
  EXPECT_EQ(Refusal("/model/type", "WordPiece"), "t: model.type is WordPiece, expected BPE");
  EXPECT_EQ(Refusal("/model/dropout", 0.1), "t: model.dropout is 0.1, expected null");
  EXPECT_EQ(Refusal("/model/end_of_word_suffix", "</w>"),
            "t: model.end_of_word_suffix is \"</w>\", expected null");
  EXPECT_EQ(Refusal("/normalizer", {{"type", "Lowercase"}}),
            "t: normalizer: {\"type\":\"Lowercase\"}, expected NFC or none");
  EXPECT_EQ(Refusal("/pre_tokenizer", {{"type", "Whitespace"}}),
            "t: pre_tokenizer: Whitespace first of 1, expected ByteLevel, or a Split or Digits "
            "before it, or Metaspace");
  EXPECT_EQ(Refusal("/pre_tokenizer", {{"type", "Metaspace"}}),
            "t: pre_tokenizer is Metaspace and model.byte_fallback is not true: neither of the two "
            "kinds that are read");
  const Json split = {
      {"type", "Split"}, {"pattern", {{"Regex", "\\d+"}}}, {"behavior", "Isolated"}};
  const Json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  EXPECT_EQ(Refusal("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {split, bytes}}}),
            "t: pre_tokenizer: the pattern \"\\\\d+\" is none of those of gpt2, llama3 and qwen2");
  Json digits = {{"type", "Digits"}, {"individual_digits", true}};
  EXPECT_EQ(
      Refusal("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {digits, bytes}}}),
      "t: pre_tokenizer: ByteLevel behind Digits has add_prefix_space false, use_regex false, "
      "expected false and true");
  digits["individual_digits"] = false;
  EXPECT_EQ(Refusal("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {digits, bytes}}}),
            "t: pre_tokenizer: Digits has individual_digits false, expected true");
  EXPECT_NE(Refusal("/pre_tokenizer", nullptr), "");
  EXPECT_EQ(Refusal("/post_processor", {{"type", "BertProcessing"}}),
            "t: post_processor: BertProcessing is not known, expected TemplateProcessing");
  Json single = {{{"Sequence", {{"id", "A"}, {"type_id", 0}}}}};
  const auto processed = [&] {
    return Refusal("/post_processor", {{"type", "TemplateProcessing"}, {"single", single}});
  };
  EXPECT_EQ(processed(), "");
  single.push_back(single[0]);
  EXPECT_EQ(
      processed(),
      "t: post_processor: single is [{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"Sequence\":"
      "{\"id\":\"A\",\"type_id\":0}}], expected the text, A, once");
  single = Json::array();
  EXPECT_EQ(processed(), "t: post_processor: single is [], expected the text, A, once");
  EXPECT_EQ(Refusal("/decoder", {{"type", "WordPiece"}}),
            "t: decoder: WordPiece, expected ByteLevel");
  EXPECT_EQ(Refusal("/version", "2.0"), "");
}

TEST(TokenizerJson, RefusesWhatIsWrong) {
  EXPECT_EQ(Refusal("/model/vocab/\u0136", 3), "t: token \"\u0136\" has id 3, as another");
  EXPECT_EQ(Refusal("/model/vocab/zz", 1 << 30),
            "t: token \"zz\" has id 1073741824, expected 0 to 65796");
  EXPECT_EQ(Refusal("/model/vocab/zz", -1), "t: model.vocab: token \"zz\" has id -1");
  EXPECT_EQ(Refusal("/model/vocab", nullptr), "t: model.vocab is null");
  EXPECT_EQ(Refusal("/model/merges/0", "a b c"),
            "t: model.merges[0] is \"a b c\", expected \"a b\" or [\"a\", \"b\"]");
  EXPECT_EQ(Refusal("/model/merges/1", {"q", "q"}),
            "t: model.merges[1]: \"qq\" is not in the vocabulary");
  EXPECT_EQ(Refusal("/model/merges", 5), "t: model.merges is an integer");
  EXPECT_EQ(
      Refusal("/added_tokens/0/id", 262),
      "t: added token \"<|endoftext|>\" has id 262, but is the one of id 259 by where it stands");
  EXPECT_EQ(Refusal("/added_tokens/0/id", 7), "t: token \"<|endoftext|>\" has id 7, as another");
  EXPECT_EQ(Refusal("/added_tokens/0/content", ""), "");  // found when the tokenizer is made
  EXPECT_EQ(Refusal("/added_tokens/0/content", 1),
            "t: content: is an integer (1), expected a string");
  EXPECT_EQ(Refusal("/added_tokens", 1), "t: added_tokens is an integer");
  EXPECT_EQ(Refusal("/model", 1), "t: model is an integer");
  EXPECT_EQ(ParseTokenizerJson("[]", "t").status().message(), "t: is an array, expected an object");
  EXPECT_FALSE(ParseTokenizerJson("{\"model\": ", "t").ok());
  EXPECT_FALSE(ParseTokenizerJson("", "t").ok());
}

TEST(TokenizerJson, AllPrefixesAreRefused) {
  const std::string text = DumpJson(SmallJson(), -1);
  for (size_t n = 0; n < text.size(); n += 37) {
    EXPECT_FALSE(ParseTokenizerJson(text.substr(0, n), "t").ok());
  }
}

TEST(Tokenizer, AddedTokens) {
  BpeParts parts = SmallBpe({{"a", "b"}});
  AddToken(parts, {.content = "<m>", .lstrip = true, .rstrip = true, .normalized = false});
  AddToken(parts, {.content = "cat", .single_word = true, .normalized = false});
  AddToken(parts, {.content = "<m", .normalized = true});
  AddToken(parts, {.content = "<s>", .normalized = false, .special = true});
  const auto made = BpeTokenizer::Create(parts).Take();
  const auto encode = [&](const std::string& text) { return *made->Encode(text); };
  EXPECT_EQ(encode("ab \n<m>  ab"), (Ids{256, 257, 256}));
  EXPECT_EQ(encode("<m><m> <m>"), (Ids{257, 257, 257}));
  EXPECT_EQ(encode("<mab"), (Ids{259, 256}));
  EXPECT_EQ(encode("cat"), Ids{258});
  EXPECT_EQ(encode("cats"), (Ids{'c', 'a', 't', 's'}));
  EXPECT_EQ(encode("-cat-"), (Ids{'-', 258, '-'}));
  EXPECT_EQ(encode("\u00e9cat"), (Ids{0xC3, 0xA9, 'c', 'a', 't'}));
  EXPECT_EQ(*made->Decode(Ids{260, 256, 258}), "<s>abcat");
  EXPECT_EQ(*made->Decode(Ids{260, 256, 258}, false), "abcat");
  EXPECT_FALSE(made->Decode(Ids{261}).ok());
  EXPECT_FALSE(made->Decode(Ids{-1}).ok());
}

TEST(Tokenizer, PrefixSpaceAndWholeWords) {
  BpeParts parts = SmallBpe({{"a", "b"}, {"b", "c"}, {"a", "bc"}});
  EXPECT_EQ(*(*BpeTokenizer::Create(parts))->Encode("abc"), (Ids{256, 'c'}));
  parts.ignore_merges = true;
  EXPECT_EQ(*(*BpeTokenizer::Create(parts))->Encode("abc"), Ids{258});
  parts.add_prefix_space = true;
  EXPECT_EQ(*(*BpeTokenizer::Create(parts))->Encode("bc"), (Ids{' ', 257}));
  EXPECT_EQ(*(*BpeTokenizer::Create(parts))->Encode(" bc"), (Ids{' ', 257}));
}

// Wherever a text is cut, the ids of its parts are those of the whole: all texts of eight letters.
TEST(Tokenizer, PartsAreTheWholeByEveryRule) {
  constexpr std::string_view kLetters = "\n a1";
  for (const SplitRule rule :
       {SplitRule::kGpt2, SplitRule::kLlama3, SplitRule::kQwen2, SplitRule::kSmolLm}) {
    const auto made =
        BpeTokenizer::Create(SmallBpe({{"\n", "\n"}, {" ", "\n"}, {"\n", "a"}}, rule)).Take();
    size_t cuts = 0;
    for (int number = 0; number < 1 << 16; number += test::kUnderAsan ? 293 : 29) {
      std::string text;
      for (int digit = 0; digit < 8; ++digit) text += kLetters[number >> (2 * digit) & 3];
      const size_t cut = made->FindCut(text, 3);
      ASSERT_GE(cut, 3u);
      if (cut == text.size()) continue;
      ++cuts;
      Ids parts = *made->Encode(text.substr(0, cut));
      const Ids second = *made->Encode(text.substr(cut));
      parts.insert(parts.end(), second.begin(), second.end());
      ASSERT_EQ(parts, *made->Encode(text)) << SplitRuleName(rule) << " " << Json(text).dump();
    }
    EXPECT_GT(cuts, test::kUnderAsan ? 70u : 700u);
  }
}

Json LlamaDecoder() {
  return *ParseJson(R"({"type": "Sequence", "decoders": [
      {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
      {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})",
                    "decoder");
}

// As newer files of Llama 2 and Mistral have it. Ids as tokenizers 0.23.3 gives them.
TEST(Tokenizer, Metaspace) {
  Json vocab = {{"<unk>", 0}, {"<s>", 1}};
  for (int byte = 0; byte < 256; ++byte) vocab[fmt::format("<0x{:02X}>", byte)] = byte + 2;
  const std::string space = "\u2581";
  for (const std::string& token :
       {space, std::string("a"), std::string("b"), std::string("ab"), space + "ab"}) {
    vocab[token] = vocab.size();
  }
  Json json = {{"model",
                {{"type", "BPE"},
                 {"byte_fallback", true},
                 {"vocab", vocab},
                 {"merges", {"a b", space + " ab"}}}},
               {"decoder", LlamaDecoder()},
               {"added_tokens", {{{"id", 1}, {"content", "<s>"}, {"special", true}}}}};
  const auto with = [&](Json pre_tokenizer) {
    pre_tokenizer["type"] = "Metaspace";
    pre_tokenizer.emplace("replacement", space);
    pre_tokenizer.emplace("split", false);
    json["pre_tokenizer"] = std::move(pre_tokenizer);
    return MakeJsonTokenizer(DumpJson(json), "t", {});
  };
  const auto first = with({{"prepend_scheme", "first"}}).Take();
  EXPECT_EQ(*first->Encode("ab ab"), (Ids{262, 262}));
  EXPECT_EQ(*first->Encode(" ab"), Ids{262});
  EXPECT_EQ(*first->Encode("ab<s>ab<s> ab"), (Ids{262, 1, 261, 1, 262}));
  EXPECT_EQ(*first->Encode("\u00e9"), (Ids{258, 0xC3 + 2, 0xA9 + 2}));
  EXPECT_EQ(*first->Encode(""), Ids{});
  Ids more;
  WordCache cache;
  ASSERT_TRUE(first->EncodeMore("ab", cache, more).ok());
  EXPECT_EQ(more, Ids{261});
  EXPECT_EQ(*with({{"prepend_scheme", "always"}}).Take()->Encode("ab<s>ab<s> ab"),
            (Ids{262, 1, 262, 1, 262}));
  EXPECT_EQ(*with(Json::object()).Take()->Encode("ab"), Ids{262});
  EXPECT_EQ(*with({{"prepend_scheme", "never"}}).Take()->Encode("ab ab"), (Ids{261, 262}));
  EXPECT_EQ(with({{"add_prefix_space", false}}).status().message(),
            "t: pre_tokenizer: Metaspace has add_prefix_space false, prepend_scheme always");

  EXPECT_EQ(with({{"split", true}}).status().message(),
            "t: pre_tokenizer: Metaspace has split true, expected false");
  EXPECT_EQ(with({{"replacement", "_"}}).status().message(),
            "t: pre_tokenizer: Metaspace puts \"_\" for a space, expected \"\u2581\"");
  EXPECT_EQ(
      with({{"prepend_scheme", "last"}}).status().message(),
      "t: pre_tokenizer: Metaspace has prepend_scheme \"last\", expected always, first or never");
  json["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", space}};
  EXPECT_EQ(with({{"prepend_scheme", "first"}}).status().message(),
            "t: normalizer: Replace before Metaspace, expected none");
  json["normalizer"] = nullptr;
  Json other = LlamaDecoder();
  std::swap(other["decoders"][1], other["decoders"][2]);
  for (const Json& decoder : {Json(), other, other["decoders"][0]}) {
    json["decoder"] = decoder;
    EXPECT_NE(with(Json::object()).status().message().find("t: decoder: "), std::string::npos);
  }
  json["decoder"] = LlamaDecoder();
  json["model"]["ignore_merges"] = true;
  EXPECT_EQ(with(Json::object()).status().message(),
            "t: model.ignore_merges is true beside byte_fallback, expected false");
}

// Added tokens are decoded as the others are, from what a reader of Hugging Face's stores of them.
TEST(Tokenizer, AddedTokensAreDecodedAsTokensAre) {
  Json json = SmallJson();  // 259 tokens and <|endoftext|>
  json["added_tokens"].push_back({{"id", 260}, {"content", "\u0120x"}});
  json["added_tokens"].push_back({{"id", 261}, {"content", "a b"}});
  const auto made = MakeJsonTokenizer(DumpJson(json), "t", {}).Take();
  EXPECT_EQ(*made->Decode(Ids{259, 260, 261}), "<|endoftext|> xa b");
  Json vocab = Json::object();
  for (int byte = 0; byte < 256; ++byte) vocab[fmt::format("<0x{:02X}>", byte)] = byte;
  vocab["\u2581"] = 256;
  json = {{"model",
           {{"type", "BPE"}, {"byte_fallback", true}, {"vocab", vocab}, {"merges", Json::array()}}},
          {"normalizer",
           {{"type", "Sequence"},
            {"normalizers",
             {{{"type", "Prepend"}, {"prepend", "\u2581"}},
              {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}}}}}},
          {"decoder", LlamaDecoder()},
          {"added_tokens",
           {{{"id", 10}, {"content", "<0x0A>"}, {"normalized", false}},
            {{"id", 257}, {"content", "TOK"}, {"normalized", true}},
            {{"id", 258}, {"content", "\u2581<P>"}, {"normalized", false}}}}};
  const auto llama = MakeJsonTokenizer(DumpJson(json), "t", {}).Take();
  EXPECT_EQ(*llama->Encode("TOK TOK"), (Ids{257, 257}));
  EXPECT_EQ(*llama->Decode(Ids{257, 257}), "TOK TOK");
  EXPECT_EQ(*llama->Decode(Ids{257, 258}), "TOK <P>");
  EXPECT_EQ(*llama->Decode(Ids{257, 10}), "TOK\n");
}

TEST(Tokenizer, WordsOfIgnoreMergesAreThoseOfTheVocabulary) {
  Json json = SmallJson();
  json["model"]["ignore_merges"] = true;
  json["model"]["vocab"]["\u65e5"] = 259;  // no bytes in the alphabet
  json["added_tokens"] = {{{"id", 260}, {"content", "cab"}, {"single_word", true}}};
  const auto made = MakeJsonTokenizer(DumpJson(json), "t", {}).Take();
  EXPECT_EQ(*made->Encode("1cab"), (Ids{'1', 'c', 256}));
  EXPECT_EQ(*made->Encode("\u65e5"), (Ids{0xE6, 0x97, 0xA5}));
  EXPECT_EQ(*made->Encode("1 ab"), (Ids{'1', 258}));
}

// A byte without a token is dropped, or the one for unknown ones.
TEST(Tokenizer, BytesWithoutATokenMayHaveOne) {
  Json json = *ParseJson(ToTokenizerJson(SmallBpe({{"a", "b"}})), "t");
  json["model"]["vocab"].erase(ToByteAlphabet("z"));
  json["model"]["vocab"].erase(ToByteAlphabet("\xff"));  // in no text
  const auto encode = [&] {
    auto made = MakeJsonTokenizer(DumpJson(json), "t", {});
    return made.ok() ? *(*made)->Encode("abzza") : Ids{};
  };
  EXPECT_EQ(encode(), (Ids{256, 'a'}));
  json["model"]["unk_token"] = "?";
  EXPECT_EQ(encode(), (Ids{256, '?', '?', 'a'}));
  json["model"]["fuse_unk"] = true;
  EXPECT_EQ(MakeJsonTokenizer(DumpJson(json), "t", {}).status().message(),
            "t: model.unk_token \"?\" stands for runs (fuse_unk), and byte 0x7A has no token");
  json["model"]["unk_token"] = "??";
  EXPECT_EQ(MakeJsonTokenizer(DumpJson(json), "t", {}).status().message(),
            "t: model.unk_token \"??\" is not in the vocabulary, and byte 0x7A has no token");
}

TEST(Tokenizer, ATextMustBeUtf8) {
  const auto made = BpeTokenizer::Create(SmallBpe({})).Take();
  EXPECT_EQ(made->Encode("ab\xff").status().message(), "text: byte 2 is 0xff, which is not UTF-8");
}

Result<std::unique_ptr<Tokenizer>> MakeCharTokenizer(std::string_view text) {
  CharacterSet characters;
  DS_TRY(characters.Add(text, "t"));
  return characters.Make();
}

TEST(Tokenizer, BytesAndCharacters) {
  const auto bytes = MakeByteTokenizer();
  EXPECT_EQ(*bytes->Encode("a\xff"), (Ids{'a', 255}));
  EXPECT_EQ(*bytes->Decode(Ids{'a', 255}), "a\xff");
  EXPECT_FALSE(bytes->Decode(Ids{256}).ok());
  EXPECT_TRUE(bytes->files().empty());

  const auto chars = MakeCharTokenizer("ba\u00e9a\n").Take();
  EXPECT_EQ(chars->vocab(), 4);
  EXPECT_EQ(*chars->Encode("ab\n\u00e9"), (Ids{1, 2, 0, 3}));
  EXPECT_EQ(*chars->Decode(Ids{3, 0}), "\u00e9\n");
  EXPECT_EQ(chars->Encode("ax").status().message(),
            "character \"x\" (U+0078) at byte 1 is none of the 4 of the vocabulary");
  EXPECT_EQ(chars->Encode("a\xff").status().message(), "text: byte 1 is 0xff, which is not UTF-8");
  EXPECT_EQ(MakeCharTokenizer("").status().message(), "the text is empty, it has no characters");
  EXPECT_FALSE(MakeCharTokenizer("a\xff").ok());
  const std::string file = chars->files()[0].text;
  EXPECT_EQ(file, "{\"characters\":[\"\\n\",\"a\",\"b\",\"\u00e9\"]}\n");
  EXPECT_EQ(*(*ParseCharTokenizer(file, "t"))->Encode("ab"), (Ids{1, 2}));
  for (const char* bad : {"{}", "[]", "{\"characters\":[]}", "{\"characters\":[\"ab\"]}",
                          "{\"characters\":[\"b\",\"a\"]}", "{\"characters\":[\"a\",\"a\"]}",
                          "{\"characters\":[1]}", "{\"characters\":[\"\"]}"}) {
    EXPECT_FALSE(ParseCharTokenizer(bad, "t").ok()) << bad;
  }
}

TEST(Tokenizer, OpensFoldersAndFiles) {
  TempDir dir;
  EXPECT_EQ(Tokenizer::Open(dir.path()).status().message(),
            dir.path() + ": holds no tokenizer.json, characters.json or tokenizer.model");
  dir.Write("vocab.json", "{}");
  const std::string older = Tokenizer::Open(dir.path()).status().message();
  EXPECT_NE(older.find("vocab.json is not read"), std::string::npos) << older;
  EXPECT_EQ(Tokenizer::Open(dir.file("none.json")).status().message(),
            dir.file("none.json") + ": cannot open: No such file or directory");
  EXPECT_EQ((*Tokenizer::Open("bytes"))->vocab(), 256);
  ASSERT_TRUE(MakeCharTokenizer("abc").Take()->Save(dir.file("chars")).ok());
  EXPECT_EQ((*Tokenizer::Open(dir.file("chars")))->vocab(), 3);

  dir.Write("tokenizer.json", DumpJson(SmallJson()));
  dir.Write("tokenizer_config.json", "{\"eos_token\": \"x\"}");
  const auto opened = Tokenizer::Open(dir.path()).Take();
  EXPECT_EQ(opened->end_of_text(), 259);
  EXPECT_EQ(opened->files().size(), 2u);
  ASSERT_TRUE(opened->Save(dir.file("saved")).ok());
  const auto again = Tokenizer::Open(dir.file("saved")).Take();
  EXPECT_EQ(*again->Encode("abc ab"), *opened->Encode("abc ab"));
  EXPECT_EQ(again->files()[0].text, opened->files()[0].text);
  EXPECT_FALSE(Tokenizer::Open(dir.file("tokenizer_config.json")).ok());
}

TEST(Tokenizer, HostileTextsTakeNoQuadraticTime) {
  BpeParts parts = SmallBpe({{"a", "a"}, {"aa", "aa"}, {" ", " "}, {"\xc3", "\xa9"}});
  parts.nfc = true;
  AddToken(parts, {.content = "<|a|>", .lstrip = true, .rstrip = true, .normalized = false});
  const auto made = BpeTokenizer::Create(std::move(parts)).Take();
  for (const char* unit : {"a", " ", "\n", "<|", "<|a|> ", "\u00e9", "\u0301", "ab"}) {
    std::string text;
    while (text.size() < size_t{1} << 20) text += unit;
    EXPECT_TRUE(made->Encode(text).ok());
  }
}

}  // namespace
}  // namespace ds::token
