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

TEST(SpecialTokens, ThatCannotBe) {
  BpeParts parts = SmallBpe({{"a", "b"}});
  AddToken(parts, {.content = "<plain>", .special = false});
  parts.files.push_back({"tokenizer.json", ToTokenizerJson(parts)});
  auto tokenizer = BpeTokenizer::Create(std::move(parts));
  const auto refused = [&](const std::string& token, const std::string& part) {
    const Status status = WithSpecialTokens(**tokenizer, {{token}}).status();
    EXPECT_FALSE(status.ok()) << token;
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  };
  refused("", "0 bytes");
  refused(std::string(2000, 'x'), "2000 bytes");
  refused("\xff", "UTF-8");
  refused("ab", "'ab' is a word of the vocabulary already");
  refused("a", "'a' is a word of the vocabulary already");
  refused("<plain>", "'<plain>' is there already");
  EXPECT_EQ((*WithSpecialTokens(**tokenizer, kChat))->vocab(), (*tokenizer)->vocab() + 2);
  const Status bytes = WithSpecialTokens(**Tokenizer::Open("bytes"), kChat).status();
  EXPECT_EQ(bytes.code(), Code::kUnsupported);
  EXPECT_EQ(bytes.message(),
            "the tokenizer (bytes) is none of a tokenizer.json, to which tokens are added");
}

}  // namespace
}  // namespace ds::token
