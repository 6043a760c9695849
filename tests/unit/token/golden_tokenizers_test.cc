// Every string of hf/tokenizers (tokenizers 0.23.3) through every tokenizer there.
#include <gtest/gtest.h>

#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "support/golden.h"
#include "token/tokenizer.h"

namespace ds::token {
namespace {

const std::string kFolder = "hf/tokenizers/";

// The cases of a file.
Json Load(const std::string& name) {
  auto text = ReadFile(test::GoldenPath(kFolder + name));
  EXPECT_TRUE(text.ok()) << text.status().message();
  auto json = ParseJson(*text, name);
  EXPECT_TRUE(json.ok()) << json.status().message();
  return json.ok() ? json->value("cases", Json::array()) : Json();
}

class Golden : public testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<Tokenizer> Open(const std::string& file = "") {
    const std::string path = test::GoldenPath(kFolder + GetParam() + file);
    auto tokenizer = Tokenizer::Open(path);
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    return tokenizer.ok() ? std::move(tokenizer).Take() : nullptr;
  }
};

TEST_P(Golden, EveryString) {
  const auto tokenizer = Open();
  ASSERT_NE(tokenizer, nullptr);
  std::map<int64_t, std::string> strings;
  for (const Json& row : Load("strings.json")) strings[row["id"]] = row["text"];
  WordCache cache;
  int64_t compared = 0, skipped = 0;
  for (const Json& row : Load(std::string(GetParam()) + "/ids.json")) {
    const std::string& text = strings.at(row["id"]);
    // NFC by a Unicode older than ours: marks assigned since are not reordered there.
    if (row.contains("nfc_of_older_unicode")) {
      ++skipped;
      continue;
    }
    ++compared;
    SCOPED_TRACE(row["id"].dump() + " " + Json(text).dump());
    const Ids want = row["ids"].get<Ids>();
    for (const int32_t id : want) ASSERT_LT(id, tokenizer->vocab());
    Ids ids;
    const Status status = tokenizer->Encode(text, cache, ids);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(ids, want);
    EXPECT_EQ(*tokenizer->Encode(text), want);  // without what the cache knows
    if (row.contains("ids_with_special")) {
      EXPECT_EQ(*tokenizer->Encode(text, /*whole=*/true), row["ids_with_special"].get<Ids>());
    }
    const std::string decoded = row.value("decoded", text);
    EXPECT_EQ(LossyUtf8(*tokenizer->Decode(want)), decoded);
    EXPECT_EQ(LossyUtf8(*tokenizer->Decode(want, /*with_special=*/false)),
              row.value("decoded_without_special", decoded));
  }
  EXPECT_GT(compared, 50 * skipped);
}

// Merges as "a b" strings are the same tokenizer.
TEST_P(Golden, OldMerges) {
  const std::string file = "/tokenizer_old_merges.json";
  if (!ReadFile(test::GoldenPath(kFolder + GetParam() + file)).ok()) return;  // not made of each
  const auto now = Open("/tokenizer.json"), old = Open(file);
  ASSERT_NE(old, nullptr);
  for (const Json& row : Load("strings.json")) {
    const std::string text = row["text"];
    EXPECT_EQ(*old->Encode(text), *now->Encode(text)) << row["id"];
  }
}

// A text may be cut where FindCut says: the ids of the parts are those of the whole.
TEST_P(Golden, PartsOfAText) {
  const auto tokenizer = Open();
  std::string text;
  for (const Json& row : Load("strings.json")) {
    text += row["text"].get<std::string>();
    text += row["id"].get<int64_t>() % 3 == 0 ? "\n" : " ";
  }
  for (const size_t step : {size_t{1}, size_t{100}, size_t{5000}}) {
    Ids parts;
    WordCache cache;
    for (size_t at = 0; at < text.size();) {
      const size_t end = tokenizer->FindCut(text, std::min(at + step, text.size()));
      ASSERT_GT(end, at);
      ASSERT_TRUE(
          tokenizer->Encode(std::string_view(text).substr(at, end - at), cache, parts).ok());
      at = end;
    }
    EXPECT_EQ(parts, *tokenizer->Encode(text)) << step;
  }
}

TEST_P(Golden, Conversations) {
  const std::string name = std::string(GetParam()) + "/chat.json";
  if (!ReadFile(test::GoldenPath(kFolder + name)).ok()) return;
  const auto tokenizer = Open();
  for (const Json& row : Load(name)) {
    EXPECT_EQ(*tokenizer->Encode(row["text"].get<std::string>()), row["ids"].get<Ids>());
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, Golden, testing::Values("gpt2", "llama3", "qwen2", "llama2"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace ds::token
