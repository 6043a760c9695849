#include "token/special_tokens.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "support/golden.h"
#include "support/temp_dir.h"
#include "unit/token/small_bpe.h"

namespace ds::token {
namespace {

const std::vector<std::string> kChat = {"<|im_start|>", "<|im_end|>"};

std::unique_ptr<Tokenizer> Golden(const std::string& name) {
  auto tokenizer = Tokenizer::Open(test::GoldenPath("hf/tokenizers/" + name));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return std::move(tokenizer).Take();
}

// Texts have the ids that they had, the new tokens those behind; and so has what is saved.
TEST(SpecialTokensGolden, AreBehindTheOthers) {
  const std::string text = "Hello, w\u00f6rld  <|im_start|>\n 42<|new|>";
  for (const char* name : {"gpt2", "llama3", "qwen2", "llama2"}) {
    SCOPED_TRACE(name);
    const auto before = Golden(name);
    const std::vector<std::string> added = {"<|new|>", "<|newer|>"};
    auto grown = WithSpecialTokens(*before, added);
    ASSERT_TRUE(grown.ok()) << grown.status().message();
    const test::TempDir dir;
    ASSERT_TRUE((*grown)->Save(dir.path()).ok());
    auto saved = Tokenizer::Open(dir.path());
    ASSERT_TRUE(saved.ok()) << saved.status().message();
    for (const Tokenizer* after : {grown->get(), saved->get()}) {
      EXPECT_EQ(after->vocab(), before->vocab() + 2);
      const Ids ids = *after->Encode(text + "<|newer|>");
      Ids want = *before->Encode(text.substr(0, text.size() - 7));
      const auto first = static_cast<int32_t>(before->vocab());
      want.insert(want.end(), {first, first + 1});
      EXPECT_EQ(ids, want);
      EXPECT_TRUE(after->IsSpecial(first));
      EXPECT_EQ(*after->Decode({{first, first + 1}}), "<|new|><|newer|>");
      EXPECT_EQ(after->end_of_text(), before->end_of_text());
    }
    // Those that are there are left as they are.
    auto same = WithSpecialTokens(**grown, added);
    ASSERT_TRUE(same.ok()) << same.status().message();
    EXPECT_EQ((*same)->vocab(), (*grown)->vocab());
  }
}

void ExpectRefused(const Tokenizer& tokenizer, const std::string& token, const std::string& part) {
  const Status status = WithSpecialTokens(tokenizer, {{token}}).status();
  EXPECT_FALSE(status.ok()) << token;
  EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
}

TEST(SpecialTokens, ThatCannotBe) {
  BpeParts parts = SmallBpe({{"a", "b"}});
  AddToken(parts, {.content = "<plain>", .special = false});
  parts.files.push_back({"tokenizer.json", ToTokenizerJson(parts)});
  auto tokenizer = BpeTokenizer::Create(std::move(parts));
  ExpectRefused(**tokenizer, "", "0 bytes");
  ExpectRefused(**tokenizer, std::string(2000, 'x'), "2000 bytes");
  ExpectRefused(**tokenizer, "\xff", "UTF-8");
  ExpectRefused(**tokenizer, "ab", "'ab' is a word of the vocabulary already");
  ExpectRefused(**tokenizer, "a", "'a' is a word of the vocabulary already");
  // One that is there becomes special.
  const int32_t plain = (*tokenizer)->Encode("<plain>")->front();
  EXPECT_FALSE((*tokenizer)->IsSpecial(plain));
  auto special = WithSpecialTokens(**tokenizer, {{"<plain>"}});
  ASSERT_TRUE(special.ok()) << special.status().message();
  EXPECT_EQ((*special)->vocab(), (*tokenizer)->vocab());
  EXPECT_TRUE((*special)->IsSpecial(plain));
  EXPECT_EQ((*WithSpecialTokens(**tokenizer, kChat))->vocab(), (*tokenizer)->vocab() + 2);
  // One twice, and one with all that a file has to escape.
  const std::vector<std::string> odd = {"<\"\\\n\u00e9>", "<\"\\\n\u00e9>"};
  auto added = WithSpecialTokens(**tokenizer, odd);
  ASSERT_TRUE(added.ok()) << added.status().message();
  EXPECT_EQ((*added)->vocab(), (*tokenizer)->vocab() + 1);
  EXPECT_EQ(*(*added)->Encode(odd[0]), Ids{static_cast<int32_t>((*tokenizer)->vocab())});
  BpeParts holes = SmallBpe({});
  holes.tokens.emplace_back();  // an id without a token
  AddToken(holes, {.content = "<last>", .special = true});
  holes.files.push_back({"tokenizer.json", ToTokenizerJson(holes)});
  ExpectRefused(**BpeTokenizer::Create(std::move(holes)), "<new>", "257 tokens have ids up to 257");
  const Status bytes = WithSpecialTokens(**Tokenizer::Open("bytes"), kChat).status();
  EXPECT_EQ(bytes.code(), Code::kUnsupported);
  EXPECT_EQ(bytes.message(),
            "tokens can be added to a tokenizer.json only, and this tokenizer is: bytes");
}

// Words of a vocabulary of characters, and bytes that it spells.
TEST(SpecialTokensGolden, AreNoWords) {
  const auto tokenizer = Golden("llama2");
  for (const char* word : {"\u2581the", "<0x0A>"}) {
    ExpectRefused(*tokenizer, word, "is a word of the vocabulary already");
  }
  // The end of a text is what it will be when the file is opened again.
  auto grown = WithSpecialTokens(*tokenizer, {{"<|endoftext|>"}});
  ASSERT_TRUE(grown.ok()) << grown.status().message();
  EXPECT_EQ((*grown)->end_of_text(), static_cast<int32_t>(tokenizer->vocab()));
}

}  // namespace
}  // namespace ds::token
