#include "data/encode.h"

#include <gtest/gtest.h>

#include "data/chat.h"
#include "data/tokens.h"
#include "support/golden.h"
#include "support/temp_dir.h"

namespace ds::data {
namespace {

using token::Ids;

std::unique_ptr<token::Tokenizer> Golden(const std::string& name) {
  auto tokenizer = token::Tokenizer::Open(test::GoldenPath("hf/tokenizers/" + name));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return std::move(tokenizer).Take();
}

Result<Ids> EncodeAll(const std::string& path, TextFormat format, const token::Tokenizer& tokenizer,
                      int threads) {
  TaskPool pool(threads);
  DS_ASSIGN(Documents documents, Documents::Open(path, format, "text"));
  Ids all;
  DS_TRY(EncodeDocuments(
      documents, tokenizer, pool,
      [&](std::span<const int32_t> ids) -> Status {
        all.insert(all.end(), ids.begin(), ids.end());
        return {};
      },
      [](const EncodeProgress&) { return true; }));
  return all;
}

// A text of several pieces gives the ids of the whole, on any number of threads.
TEST(EncodeGolden, PiecesAreTheWhole) {
  test::TempDir dir;
  std::string text;
  for (int i = 0; text.size() < 1500000; ++i) {
    text += fmt::format("line {} of\u00e9 text's  \n{}", i * 7919, i % 3 == 0 ? "\n" : "");
  }
  const std::string path = dir.Write("t", text);
  for (const char* name : {"qwen2", "llama3", "gpt2"}) {
    const auto tokenizer = Golden(name);
    const Ids want = *tokenizer->Encode(text);
    EXPECT_EQ(*EncodeAll(path, TextFormat::kText, *tokenizer, 1), want);
    EXPECT_EQ(*EncodeAll(path, TextFormat::kText, *tokenizer, 3), want);
  }
}

TEST(EncodeGolden, DocumentsHaveTheirEnds) {
  test::TempDir dir;
  const std::string path = dir.Write("t", "{\"text\": \"a b\"}\n{\"text\": \"c\"}\n");
  const auto llama3 = Golden("llama3");
  Ids want;
  for (const char* text : {"a b", "c"}) {
    const Ids ids = *llama3->Encode(text, /*whole=*/true);
    want.insert(want.end(), ids.begin(), ids.end());
    want.push_back(*llama3->end_of_text());
  }
  EXPECT_EQ(*EncodeAll(path, TextFormat::kJsonLines, *llama3, 2), want);
  EXPECT_EQ(
      EncodeAll(path, TextFormat::kChat, *llama3, 2).status().message(),
      path +
          ": line 1: has neither \"messages\", an array of objects with role and content, nor "
          "\"conversations\", of from and value");
}

// What a model is asked is what it was trained on: a question's ids are those of its prompt, also
// where a word reaches over the border of head and content.
TEST(EncodeGolden, QuestionsAsTheirPrompts) {
  for (const char* name : {"llama3", "qwen2"}) {
    const auto tokenizer = Golden(name);
    for (const std::string question :
         {"fish", "\n\n\nfoo", "\n  x", "\n", "", "  two ", "\u00a0nb\u3000",
          "\x1c"
          "fs"}) {
      token::WordCache cache;
      Ids ids;
      const std::vector<Turn> turns = {{"user", question}, {"assistant", "a"}};
      ASSERT_TRUE(EncodeChat(turns, *tokenizer, cache, ids).ok());
      Ids want;
      ASSERT_TRUE(EncodeQuestion(std::span(turns).first(1), *tokenizer, cache, want).ok());
      ASSERT_GT(ids.size(), want.size());
      ids.resize(want.size());
      for (int32_t& id : ids) {
        EXPECT_LT(id, 0);  // asked, not learned
        EXPECT_EQ(TokenSpan::Begins(static_cast<uint32_t>(id)), &id == &ids.front());
        id = static_cast<int32_t>(TokenSpan::Id(static_cast<uint32_t>(id)));
      }
      EXPECT_EQ(ids, want) << name << " '" << question << "'";
      if (std::string_view(name) != "qwen2") continue;  // which trims nothing
      const std::string text =
          "<|im_start|>user\n" + question + "<|im_end|>\n<|im_start|>assistant\n";
      EXPECT_EQ(want, *tokenizer->Encode(text)) << question;
    }
  }
}

// What goes on has no space before it where a text would have one.
TEST(EncodeGolden, AnswersGoOnWherePromptsEnd) {
  for (const char* name : {"llama2", "qwen2", "llama3", "gpt2"}) {
    const auto tokenizer = Golden(name);
    for (const std::string more : {"hello cat", " hello", "", "<s>a", "  two"}) {
      token::WordCache cache;
      Ids ids, whole;
      ASSERT_TRUE(tokenizer->Encode("go\n", cache, ids).ok());
      ASSERT_TRUE(tokenizer->EncodeMore(more, cache, ids).ok());
      auto text = tokenizer->Decode(ids);
      ASSERT_TRUE(text.ok());
      whole = *tokenizer->Encode("go\n" + more);
      EXPECT_EQ(*text, *tokenizer->Decode(whole)) << name << " " << more;
      // Words of SentencePiece's end at a line end.
      if (std::string_view(name) == "llama2") {
        EXPECT_EQ(ids, whole) << more;
      }
    }
  }
}

TEST(EncodeGolden, ConversationsAsTheirTemplateWritesThem) {
  for (const char* name : {"llama3", "qwen2"}) {
    const auto tokenizer = Golden(name);
    auto text = ReadFile(test::GoldenPath(std::string("hf/tokenizers/") + name + "/chat.json"));
    if (!text.ok()) continue;
    auto json = ParseJson(*text, name);
    ASSERT_TRUE(json.ok());
    token::WordCache cache;
    int compared = 0;
    for (const Json& row : (*json)["cases"]) {
      std::vector<Turn> turns;
      bool assistant = false;
      for (const Json& message : row["messages"]) {
        turns.push_back({.role = message["role"], .content = message["content"]});
        assistant |= turns.back().role == "assistant";
      }
      // What the template adds by itself is not ours to know: a system message, or the head of an
      // answer that is to be generated.
      const bool system = turns.front().role == "system" || std::string(name) == "llama3";
      Ids ids;
      const Status status = EncodeChat(turns, *tokenizer, cache, ids);
      EXPECT_EQ(status.ok(), assistant) << status.message();
      if (!assistant || !system) continue;
      Ids want = row["ids"].get<Ids>();
      if (row["add_generation_prompt"] == true) want.resize(std::min(want.size(), ids.size()));
      Ids plain;
      size_t learned = 0;
      for (const int32_t id : ids) {
        learned += id >= 0;
        plain.push_back(static_cast<int32_t>(TokenSpan::Id(static_cast<uint32_t>(id))));
      }
      EXPECT_EQ(plain, want);
      EXPECT_GT(learned, 0u);
      EXPECT_LT(learned, ids.size());
      ++compared;
    }
    // Another folder may have other conversations.
    EXPECT_GE(compared, std::getenv("DS_GOLDEN_DIR") == nullptr ? 1 : 0) << name;
  }
}

// As OpenAI's files have them: the same ids, of which those of the other answer alone are learned.
TEST(EncodeGolden, AnAnswerOfNoWeightIsNotLearned) {
  const auto tokenizer = Golden("qwen2");
  std::vector<Turn> turns = {{.role = "user", .content = "a"},
                             {.role = "assistant", .content = "b c"},
                             {.role = "user", .content = "d"},
                             {.role = "assistant", .content = "e"}};
  token::WordCache cache;
  const auto learned = [&](Ids* plain) {
    Ids ids, counted;
    EXPECT_TRUE(EncodeChat(turns, *tokenizer, cache, ids).ok());
    for (const int32_t id : ids) {
      plain->push_back(static_cast<int32_t>(TokenSpan::Id(static_cast<uint32_t>(id))));
      if (id >= 0) counted.push_back(plain->back());
    }
    return counted;
  };
  Ids all, same;
  const Ids both = learned(&all);
  turns[1].learned = false;
  const Ids one = learned(&same);
  EXPECT_EQ(same, all);
  ASSERT_LT(one.size(), both.size());
  EXPECT_TRUE(std::equal(one.rbegin(), one.rend(), both.rbegin()));
  turns[3].learned = false;
  EXPECT_FALSE(HasAnswer(turns));
}

// They are counted, and change nothing of the others.
TEST(EncodeGolden, ConversationsWithoutAnAnswerAreLeftOut) {
  const test::TempDir dir;
  const auto tokenizer = Golden("qwen2");
  const std::string asked = R"({"messages": [{"role": "user", "content": "hi"}]})",
                    answered = R"({"conversations": [{"from": "human", "value": "hi"},
 {"from": "gpt", "value": "yes"}]})";
  const auto line = [](std::string text) {
    std::erase(text, '\n');
    return text + "\n";
  };
  const std::string mixed = dir.Write("mixed", line(asked) + line(answered) + line(asked)),
                    alone = dir.Write("alone", line(answered)),
                    none = dir.Write("none", line(asked) + line(asked));
  auto want = EncodeAll(alone, TextFormat::kChat, *tokenizer, 2);
  ASSERT_TRUE(want.ok()) << want.status().message();
  EXPECT_EQ(*EncodeAll(mixed, TextFormat::kChat, *tokenizer, 2), *want);
  EXPECT_EQ(EncodeAll(none, TextFormat::kChat, *tokenizer, 2).status().message(),
            none +
                ": has nothing to learn: no turn is the assistant's (role assistant, or from gpt) "
                "without a "
                "weight of 0, of 2 "
                "conversations that are left out");
}

// What stands before a text stands before a conversation.
TEST(EncodeGolden, TheTemplateBeginsAsATextDoes) {
  for (const auto& [name, begin] :
       {std::pair("qwen2", "{% for"), std::pair("llama3", "{{ '<|begin_of_text|>' }}{% for")}) {
    auto layout = ChatTemplate(*Golden(name));
    ASSERT_TRUE(layout.ok()) << layout.status().message();
    EXPECT_TRUE(layout->starts_with(begin)) << *layout;
  }
}

TEST(EncodeGolden, AnswersAloneAreLearned) {
  const auto tokenizer = Golden("qwen2");
  token::WordCache cache;
  Ids ids;
  const std::vector<Turn> turns = {{"user", "hi"}, {"assistant", "yes"}};
  ASSERT_TRUE(EncodeChat(turns, *tokenizer, cache, ids).ok());
  Ids learned;
  for (const int32_t id : ids) {
    if (id >= 0) learned.push_back(id);
  }
  EXPECT_EQ(*tokenizer->Decode(learned), "yes<|im_end|>");
  EXPECT_EQ(*EndOfTurn(*tokenizer), learned.back());
  EXPECT_EQ(*Golden("llama3")->Decode({{*EndOfTurn(*Golden("llama3"))}}), "<|eot_id|>");
  EXPECT_EQ(EncodeChat(std::span(turns).first(1), *tokenizer, cache, ids).message(),
            "has no answer: of 1 turns none is the assistant's (role assistant, or from gpt)");
  EXPECT_EQ(EncodeChat(turns, *Golden("llama2"), cache, ids).code(), Code::kUnsupported);
  EXPECT_EQ(EndOfTurn(*Golden("llama2")).status().code(), Code::kUnsupported);
  EXPECT_EQ(EncodeQuestion(turns, *Golden("llama2"), cache, ids).code(), Code::kUnsupported);
}

}  // namespace
}  // namespace ds::data
