#include "data/mix.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/temp_dir.h"
#include "token/plain_tokenizers.h"

namespace ds::data {
namespace {

using test::TempDir;

class MixTest : public testing::Test {
 protected:
  Result<Mix> Open(const std::vector<std::string>& paths, Order order = Order::kDrawn) {
    std::vector<WeightedSource> sources;
    for (const std::string& path : paths) {
      DS_ASSIGN(WeightedSource source, WeightedSource::Find(path, "auto", "text"));
      sources.push_back(std::move(source));
    }
    return Mix::Open(sources, bytes_.get(), 256, 8, order, pool_);
  }
  std::string Refusal(const std::vector<std::string>& paths) {
    return Open(paths).status().message();
  }

  TempDir dir_;
  TaskPool pool_{2};
  const std::unique_ptr<token::Tokenizer> bytes_ = token::MakeByteTokenizer();
};

TEST_F(MixTest, EveryTextIsSplitByItself) {
  const std::string a = dir_.Write("a", std::string(1000, 'a'));
  const std::string b = dir_.Write("b.jsonl", "{\"text\": \"" + std::string(199, 'b') + "\"}");
  auto mix = Open({a + "=3", b});
  ASSERT_TRUE(mix.ok()) << mix.status().message();
  ASSERT_EQ(mix->size(), 2u);
  EXPECT_EQ(mix->part(0), 0.75);
  EXPECT_EQ(mix->part(1), 0.25);
  EXPECT_EQ(mix->name(), a + " + " + b);
  EXPECT_EQ(mix->train()[0].windows->text().size(), 900u);
  EXPECT_EQ(mix->train()[1].windows->text().size(), 180u);
  EXPECT_EQ(mix->train()[1].windows->text()[0], 'b');
  EXPECT_EQ(mix->corpus(1).validation().text().size(), 20u);
  EXPECT_EQ(mix->train_windows(), 113 + 23);  // of 899 and 179 targets, 8 each
  EXPECT_EQ(mix->all()[1].weight, 0.25);
}

TEST_F(MixTest, DealtGoesByTheWindows) {
  const std::string a = dir_.Write("a", std::string(1000, 'a'));
  const std::string b = dir_.Write("b", std::string(200, 'b'));
  auto mix = Open({a, b}, Order::kDealt);
  ASSERT_TRUE(mix.ok()) << mix.status().message();
  EXPECT_EQ(mix->part(0), 113.0 / 136);
  EXPECT_EQ(mix->part(1), 23.0 / 136);
  EXPECT_EQ(Open({a + "=2", b}, Order::kDealt).status().message(),
            a + " has weight 2 and " + b +
                " weight 1: --epochs takes each of their windows once, --steps goes by weights");
  EXPECT_TRUE(Open({a + "=2", b + "=2"}, Order::kDealt).ok());
}

TEST_F(MixTest, NamesMayHaveASignOfTheirOwn) {
  const auto found = [&](const std::string& name) {
    auto source = WeightedSource::Find(dir_.file(name), "auto", "text");
    EXPECT_TRUE(source.ok()) << source.status().message();
    return std::pair(source->source.path.substr(dir_.path().size() + 1), source->weight);
  };
  EXPECT_EQ(found("a=2"), std::pair(std::string("a"), 2.0));
  dir_.Write("a=2", "text");
  EXPECT_EQ(found("a=2"), std::pair(std::string("a=2"), 1.0));
  EXPECT_EQ(found("a=2=3e-1"), std::pair(std::string("a=2"), 0.3));
  EXPECT_EQ(found("a=2.0"), std::pair(std::string("a"), 2.0));
  EXPECT_EQ(found("b=c"), std::pair(std::string("b=c"), 1.0));  // not there, and told so when read
}

TEST_F(MixTest, OfAFile) {
  dir_.Write("a", "text");
  const auto read = [&](const std::string& text) { return ReadMixFile(dir_.Write("mix", text)); };
  auto sources = read(R"({"sources": [{"path": "a", "weight": 3},
                                      {"path": "/b", "format": "jsonl", "field": "body"}]})");
  ASSERT_TRUE(sources.ok()) << sources.status().message();
  ASSERT_EQ(sources->size(), 2u);
  EXPECT_EQ((*sources)[0].source.path, dir_.file("a"));
  EXPECT_EQ((*sources)[0].weight, 3);
  EXPECT_EQ((*sources)[1].source.path, "/b");
  EXPECT_EQ((*sources)[1].source.text, TextFormat::kJsonLines);
  EXPECT_EQ((*sources)[1].source.field, "body");
  EXPECT_EQ((*sources)[1].weight, 1);
  const std::string all = ": expected an object with sources, an array, and nothing else";
  for (const auto& [text, why] :
       {std::pair<std::string, std::string>("[]", all),
        {R"({"sources": []})", all},
        {R"({"sources": [{"path": "a"}], "seed": 1})", all},
        {R"({"sources": ["a"]})", ": sources[0]: is a string, expected an object"},
        {R"({"sources": [{"path": "a"}, {"weight": 2}]})", ": sources[1]: path: missing"},
        {R"({"sources": [{"path": "a", "wait": 2}]})",
         ": sources[0]: wait: is not known, expected path, weight, format or field"},
        {R"({"sources": [{"path": "a", "weight": -1}]})",
         ": sources[0]: weight: is -1, expected a finite number above 0"},
        {R"({"sources": [{"path": "a\u0000b"}]})", ": sources[0]: path: has a NUL byte behind a"},
        {R"({"sources": [{"path": "a", "format": "csv"}]})",
         ": sources[0]: --format is csv, expected auto, text, jsonl, chat or tokens"}}) {
    EXPECT_EQ(read(text).status().message(), dir_.file("mix") + why) << text;
  }
}

TEST_F(MixTest, NamesWhatIsWrong) {
  const std::string a = dir_.Write("a", std::string(1000, 'a'));
  for (const char* weight : {"0", "-1", "nan", "inf", "-inf", "1e999", "", "2x", "x"}) {
    EXPECT_EQ(Refusal({a + "=" + weight}), "--data " + a + "=" + weight + ": the weight is " +
                                               weight + ", expected a finite number above 0");
  }
  EXPECT_EQ(Refusal({a + "=1e308", a + "=1e308"}),
            a + ": its weight is 1e+308 of inf, expected a part of 1e-09 or more");
  EXPECT_EQ(Refusal({a, a + "=1e-12"}),
            a + ": its weight is 1e-12 of 1.000000000001, expected a part of 1e-09 or more");
  EXPECT_EQ(Refusal({a, dir_.file("none") + "=2"}),
            dir_.file("none") + ": cannot open: No such file or directory");
  EXPECT_EQ(Refusal({a, dir_.Write("short", "12345678901234567")}),
            dir_.file("short") +
                ": has 17 bytes, at least 18 are needed: a window of 9 for training and one for "
                "validation");
}

}  // namespace
}  // namespace ds::data
