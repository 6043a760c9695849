#include "data/corpus.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "data/encode.h"
#include "support/golden.h"
#include "support/temp_dir.h"
#include "token/plain_tokenizers.h"

namespace ds::data {
namespace {

using test::TempDir;

class CorpusTest : public testing::Test {
 protected:
  Result<Corpus> Open(const std::string& path, int64_t tokens, const std::string& format = "auto") {
    DS_ASSIGN(const Source source, Source::Find(path, format, "text"));
    return Corpus::Open(source, bytes_.get(), 256, tokens, pool_);
  }
  std::string Refusal(const std::string& path, int64_t tokens = 8,
                      const std::string& format = "auto") {
    return Open(path, tokens, format).status().message();
  }
  static std::string Text(TokenSpan tokens) {
    std::string text;
    for (size_t i = 0; i < tokens.size(); ++i) text += static_cast<char>(tokens[i]);
    return text;
  }

  TempDir dir_;
  TaskPool pool_{2};
  const std::unique_ptr<token::Tokenizer> bytes_ = token::MakeByteTokenizer();
};

TEST_F(CorpusTest, SplitsOffTheLastTenth) {
  const std::string path = dir_.Write("t", std::string(900, 'a') + std::string(100, '\xff'));
  auto corpus = Open(path, 8);
  ASSERT_TRUE(corpus.ok());
  const TokenSpan train = corpus->train().text(), validation = corpus->validation().text();
  EXPECT_EQ(train.size(), 900u);
  EXPECT_EQ(validation.size(), 100u);
  EXPECT_EQ(train[899], 'a');
  EXPECT_EQ(validation[0], 255u);
  EXPECT_EQ(corpus->train().tokens(), 8);
  EXPECT_EQ(corpus->all().width(), 1u);                          // mapped
  EXPECT_EQ(Open(path, 299)->validation().text().size(), 300u);  // at least one window
  EXPECT_EQ(Open(path, 499)->train().text().size(), 500u);
}

TEST_F(CorpusTest, NamesWhatIsWrong) {
  const std::string path = dir_.Write("t", std::string(17, 'a'));
  EXPECT_EQ(Refusal(path), path +
                               ": has 17 bytes, at least 18 are needed: a window of 9 for training "
                               "and one for validation");
  EXPECT_EQ(Refusal(dir_.Write("e", "")), dir_.file("e") + ": is empty");
  EXPECT_EQ(Refusal(dir_.file("none")),
            dir_.file("none") + ": cannot open: No such file or directory");
  EXPECT_FALSE(Open(path, 0).ok());
  EXPECT_FALSE(Open(path, INT64_MAX).ok());
  EXPECT_EQ(Refusal(path, 8, "csv"), "--format is csv, expected auto, text, jsonl, chat or tokens");
  TempDir empty;
  EXPECT_EQ(Refusal(empty.path()), empty.path() + ": holds no files");
  EXPECT_EQ(Refusal(empty.path(), 8, "tokens"), empty.path() + ": is a directory, expected a file");
}

TEST_F(CorpusTest, FoldersInTheOrderOfTheirPaths) {
  std::filesystem::create_directories(dir_.file("c/b"));
  std::filesystem::create_directories(dir_.file("c/.git"));
  dir_.Write("c/z", "last");
  dir_.Write("c/b/x", "second");
  dir_.Write("c/a", "first");
  dir_.Write("c/.hidden", "no");
  dir_.Write("c/.git/config", "no");
  EXPECT_EQ(Text(Open(dir_.file("c"), 1)->all()), "first\nsecond\nlast\n");
}

TEST_F(CorpusTest, NamesSayTheFormat) {
  for (const char* name : {"a.jsonl", "a.JSONL", "a.ndjson"}) {
    EXPECT_EQ(Source::Find(name, "auto", "text")->text, TextFormat::kJsonLines) << name;
    EXPECT_EQ(Source::Find(name, "text", "text")->text, TextFormat::kText) << name;
  }
  EXPECT_FALSE(Source::Find("a.bin", "auto", "text")->text.has_value());
  EXPECT_EQ(Source::Find("a.json", "auto", "text")->text, TextFormat::kText);
  EXPECT_EQ(Source::Find("a.jsonl.gz", "auto", "text").status().message(),
            "a.jsonl.gz: .gz files are not read: unpack it, or say --format");
  EXPECT_TRUE(Source::Find("a.jsonl.gz", "text", "text").ok());
}

TEST_F(CorpusTest, FoldersBehindLinks) {
  namespace fs = std::filesystem;
  fs::create_directories(dir_.file("f"));
  fs::create_directories(dir_.file("other/deep"));
  dir_.Write("f/a", "1");
  dir_.Write("other/deep/b", "2");
  fs::create_directory_symlink("../other", dir_.file("f/link"));
  fs::create_symlink(dir_.file("f/a"), dir_.file("f/z"));
  fs::create_symlink("none", dir_.file("f/.lock"));
  const auto open = [&] { return Documents::Open(dir_.file("f"), TextFormat::kFolder, ""); };
  auto documents = open();
  ASSERT_TRUE(documents.ok()) << documents.status().message();
  std::string all;
  for (Document document; *documents->Next(document);) all += document.text;
  EXPECT_EQ(all, "121");
  fs::create_directory_symlink("../..", dir_.file("other/deep/up"));
  EXPECT_NE(open().status().message().find("f/link/deep/up: is a link to "), std::string::npos);
  EXPECT_NE(open().status().message().find(", in which it lies"), std::string::npos);
  fs::remove(dir_.file("other/deep/up"));
  fs::create_directory_symlink("../other", dir_.file("f/more"));
  EXPECT_NE(open().status().message().find(", where another link leads"), std::string::npos);
  fs::remove(dir_.file("f/more"));
  fs::create_symlink("none", dir_.file("f/q"));
  EXPECT_EQ(open().status().message(),
            dir_.file("f/q") + ": is a link to none: No such file or directory");
}

TEST_F(CorpusTest, LinesOfJson) {
  const std::string path = dir_.Write(
      "t.jsonl",
      "{\"text\": \"one\\n\"}\n\n \r\n{\"id\": 2, \"text\": \"two\"}\r\n{\"text\": \"\"}");
  EXPECT_EQ(Text(Open(path, 1)->all()), "one\n\ntwo\n\n");
  EXPECT_EQ(Refusal(dir_.Write("a.jsonl", "{\"text\": \"a\"}\n{\"body\": \"b\"}\n")),
            dir_.file("a.jsonl") + ": line 2: has no \"text\": --field names another key");
  EXPECT_EQ(Refusal(dir_.Write("b.jsonl", "{\"text\": 5}")),
            dir_.file("b.jsonl") + ": line 1: text: is an integer (5), expected a string");
  EXPECT_EQ(Refusal(dir_.Write("c.jsonl", "[1]")),
            dir_.file("c.jsonl") +
                ": line 1: begins an array, expected an object a line (jq -c '.[]' "
                "makes them of an array)");
  EXPECT_NE(Refusal(dir_.Write("d.jsonl", "{\"text\": \"a")).find("d.jsonl: line 1: the object: "),
            std::string::npos);
}

TEST_F(CorpusTest, GoldenConversationsAreSplitWhole) {
  const auto tokenizer = token::Tokenizer::Open(test::GoldenPath("hf/tokenizers/qwen2")).Take();
  const std::string answered =
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})";
  const std::string asked = R"({"messages": [{"role": "user", "content": "a"}]})";
  const std::string long_one = R"({"messages": [{"role": "assistant", "content": "b"}, )"
                               R"({"role": "user", "content": ")" +
                               std::string(4000, '.') + R"("}]})";
  TaskPool pool(1);
  const auto open = [&](const std::string& text, int64_t tokens = 8) {
    dir_.Write("t", text);
    return Corpus::Open({dir_.file("t"), TextFormat::kChat, "text"}, tokenizer.get(),
                        tokenizer->vocab(), tokens, pool);
  };
  for (const std::string& text : {answered, asked + "\n" + long_one + "\n" + asked}) {
    EXPECT_EQ(open(text).status().message(),
              dir_.file("t") +
                  ": has 1 conversation with an answer, at least 2 are needed: one for training "
                  "and one for validation");
  }
  std::string many;
  for (int i = 0; i < 20; ++i) many += answered + "\n";
  for (const int64_t tokens : {1, 8, 100000}) {
    auto corpus = open(many, tokens);
    ASSERT_TRUE(corpus.ok()) << corpus.status().message();
    EXPECT_TRUE(corpus->conversations());
    EXPECT_EQ(corpus->train().text().size(), corpus->all().size() / 10 * 9);
    EXPECT_TRUE(corpus->validation().text().BeginsAt(0));
    EXPECT_EQ(corpus->validation().packed(), corpus->train().packed());
    // Of an answer "b" and its end are learned, one as often as the other.
    EXPECT_EQ(corpus->learned(), 40);
    const WeightedText texts[] = {{corpus->all(), 1.0}};
    EXPECT_NEAR(UnigramEntropy(texts, tokenizer->vocab()), std::log(2.0), 1e-12);
  }
  // The nearest conversation to the tenth: a long one does not take all of the text with it.
  auto near = open(many + long_one + "\n" + answered);
  ASSERT_TRUE(near.ok()) << near.status().message();
  EXPECT_GT(near->train().text().size(), near->all().size() / 2);
  // The tenth is within the long one, and there is a conversation on one side of it.
  auto last = open(answered + "\n" + long_one), first = open(long_one + "\n" + answered);
  ASSERT_TRUE(last.ok() && first.ok());
  EXPECT_GT(first->train().text().size(), last->train().text().size());
  EXPECT_EQ(first->train().text().size(), last->validation().text().size());
  EXPECT_EQ(first->validation().text().size(), last->train().text().size());
}

TEST(Documents, ConversationsOfShareGpt) {
  Document ours, theirs;
  ASSERT_TRUE(ParseJsonLine(R"({"messages": [{"role": "system", "content": "s"},
      {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"},
      {"role": "tool", "content": "t"}]})",
                            TextFormat::kChat, "text", ours)
                  .ok());
  ASSERT_TRUE(ParseJsonLine(R"({"id": 7, "conversations": [{"from": "system", "value": "s"},
      {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"},
      {"from": "tool", "value": "t", "weight": 0}]})",
                            TextFormat::kChat, "text", theirs)
                  .ok());
  Document both;
  ASSERT_TRUE(ParseJsonLine(R"({"messages": [], "conversations": [{"from": "gpt", "value": "a"}]})",
                            TextFormat::kChat, "text", both)
                  .ok());
  EXPECT_EQ(both.turns[0].role, "assistant");
  Document raw, mixed,
      led;  // from other answerers; the one's list with the other's turns; "system"
  ASSERT_TRUE(ParseJsonLine(R"({"conversations": [{"from": "chatgpt", "value": "a"}]})",
                            TextFormat::kChat, "text", raw)
                  .ok());
  EXPECT_EQ(raw.turns[0].role, "assistant");
  ASSERT_TRUE(ParseJsonLine(R"({"conversations": [{"role": "user", "content": "q"}]})",
                            TextFormat::kChat, "text", mixed)
                  .ok());
  EXPECT_EQ(mixed.turns[0].content, "q");
  ASSERT_TRUE(ParseJsonLine(R"({"messages": [{"from": "gpt", "value": "q", "tool_calls": ""}]})",
                            TextFormat::kChat, "text", mixed)
                  .ok());
  EXPECT_EQ(mixed.turns.back().role, "assistant");
  ASSERT_TRUE(ParseJsonLine(R"({"system": "s", "tools": "[]", "conversations": [
      {"from": "human", "value": "q"}]})",
                            TextFormat::kChat, "text", led)
                  .ok());
  ASSERT_EQ(led.turns.size(), 2u);
  EXPECT_EQ(led.turns[0].role, "system");
  EXPECT_EQ(led.turns[0].content, "s");
  ASSERT_EQ(ours.turns.size(), 4u);
  ASSERT_EQ(theirs.turns.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(theirs.turns[i].role, ours.turns[i].role);
    EXPECT_EQ(theirs.turns[i].content, ours.turns[i].content);
  }
}

TEST_F(CorpusTest, LinesOfConversations) {
  const std::string path = dir_.file("t");
  for (
      const auto& [line, why] :
      {std::pair("{\"messages\": []}", "messages: is empty"),
       {"{\"text\": \"a\"}",
        "has neither \"messages\", an array of objects with role and content, nor "
        "\"conversations\", of from and value"},
       {"{\"messages\": [{\"role\": \"user\"}]}", "messages[0]: content: missing"},
       {R"({"messages": [{"role": "call", "content": "a"}]})",
        "messages[0]: role is \"call\", expected system, developer, user, assistant or tool, or as "
        "ShareGPT has them human, gpt, chatgpt, bing, bard or model"},
       {R"({"conversations": [{"from": "human", "value": "a"}, {"from": "bot", "value": "a"}]})",
        "conversations[1]: from is \"bot\", expected system, developer, user, assistant or tool, "
        "or "
        "as ShareGPT has them human, gpt, chatgpt, bing, bard or model"},
       {R"({"conversations": [{"from": "function_call", "value": "{}"}]})",
        "conversations[0]: is a function_call: only what is said is laid out and learned, no calls "
        "of tools"},
       {R"({"tools": [{"name": "f"}], "messages": [{"role": "user", "content": "a"}]})",
        "has tools: only what is said is laid out and learned, no calls of tools"},
       {R"({"system": "s", "messages": [{"role": "system", "content": "a"}]})",
        "has \"system\" and a first turn of that role"},
       {R"({"system": 1, "messages": [{"role": "user", "content": "a"}]})",
        "system: is an integer (1), expected a string"},
       {R"({"messages": [{"role": "assistant", "content": "", "tool_calls": [{"id": "a"}]}]})",
        "messages[0]: has tool_calls: only what is said is laid out and learned, no calls of "
        "tools"},
       {R"({"messages": [{"role": "assistant", "content": "a", "weight": 0.5}]})",
        "messages[0]: weight is 0.5, expected 0 (not learned) or 1"},
       {"{\"conversations\": [{\"role\": \"user\"}]}", "conversations[0]: content: missing"},
       {"{\"conversations\": [{}]}", "conversations[0]: from: missing"},
       {"{\"conversations\": \"a\"}", "conversations: is a string, expected an array"},
       {"[{\"messages\": [",
        "begins an array, expected an object a line (jq -c '.[]' makes them of "
        "an array)"},
       {"{\"messages\": [1]}", "messages[0]: role: looked up in an integer, expected an object"}}) {
    dir_.Write("t", line);
    EXPECT_EQ(Refusal(path, 8, "chat"), path + ": line 1: " + why);
  }
}

TEST_F(CorpusTest, Characters) {
  const std::string path = dir_.Write("t", "b\u00e9a\u00e9");
  auto source = Source::Find(path, "auto", "text");
  auto documents = Documents::Open(path, TextFormat::kText, "text");
  const auto tokenizer = CharactersOf({&*documents, 1}).Take();
  EXPECT_EQ(tokenizer->vocab(), 3);
  auto corpus = Corpus::Open(*source, tokenizer.get(), 3, 1, pool_);
  ASSERT_TRUE(corpus.ok()) << corpus.status().message();
  EXPECT_EQ(corpus->all().width(), 2u);
  EXPECT_EQ(corpus->all()[1], 2u);
  dir_.Write("t", "b\u00e9x");
  EXPECT_EQ(Corpus::Open(*source, tokenizer.get(), 3, 1, pool_).status().message(),
            path + ": character \"x\" (U+0078) at byte 3 is none of the 3 of the vocabulary");
  dir_.Write("t", "b\xc3");
  EXPECT_EQ(Corpus::Open(*source, tokenizer.get(), 3, 1, pool_).status().message(),
            path + ": byte 1 is 0xc3, which is not UTF-8");
}

TEST(UnigramEntropy, OfKnownTexts) {
  const std::vector<uint8_t> same(10, 7), two = {1, 2, 1, 2};
  std::vector<uint16_t> all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<uint16_t>(i));
  const auto entropy = [](const TokenSpan& text, int64_t vocab) {
    return UnigramEntropy(std::array{WeightedText{text}}, vocab);
  };
  EXPECT_EQ(entropy(same, 256), 0);
  EXPECT_NEAR(entropy(two, 256), std::log(2.0), 1e-12);
  EXPECT_NEAR(entropy(all, 300), std::log(256.0), 1e-12);
  EXPECT_EQ(entropy({}, 256), 0);
  // Half 7, a quarter each 1 and 2: 1.5 bits, however long the texts are.
  EXPECT_NEAR(UnigramEntropy(std::array{WeightedText{same, 0.5}, WeightedText{two, 0.5}}, 256),
              1.5 * std::log(2.0), 1e-12);
}

}  // namespace
}  // namespace ds::data
