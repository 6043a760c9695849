#include "data/byte_tokens.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/temp_dir.h"

namespace ds::data {
namespace {

using test::TempDir;

TEST(ByteTokens, SplitsOffTheLastTenth) {
  TempDir dir;
  const std::string path = dir.Write("t", std::string(900, 'a') + std::string(100, '\xff'));
  auto tokens = ByteTokens::Open(path, 9);
  ASSERT_TRUE(tokens.ok());
  EXPECT_EQ(tokens->train().size(), 900u);
  EXPECT_EQ(tokens->validation().size(), 100u);
  EXPECT_EQ(tokens->train().back(), 'a');
  EXPECT_EQ(tokens->validation().front(), 255);
  EXPECT_EQ(ByteTokens::Open(path, 300)->validation().size(), 300u);  // at least one window
  EXPECT_EQ(ByteTokens::Open(path, 500)->train().size(), 500u);
}

TEST(ByteTokens, NamesWhatIsWrong) {
  TempDir dir;
  const std::string path = dir.Write("t", std::string(17, 'a'));
  EXPECT_EQ(ByteTokens::Open(path, 9).status().message(),
            path +
                ": has 17 bytes, at least 18 are needed: a window of 9 for training and one "
                "for validation");
  EXPECT_EQ(ByteTokens::Open(dir.Write("e", ""), 9).status().message(),
            dir.file("e") + ": is empty");
  EXPECT_EQ(ByteTokens::Open(dir.path(), 9).status().message(),
            dir.path() + ": is a directory, expected a file");
  EXPECT_EQ(ByteTokens::Open(dir.file("none"), 9).status().message(),
            dir.file("none") + ": cannot open: No such file or directory");
  EXPECT_FALSE(ByteTokens::Open(path, 1).ok());
  EXPECT_FALSE(ByteTokens::Open(path, INT64_MAX).ok());
}

TEST(UnigramEntropy, OfKnownTexts) {
  const std::vector<uint8_t> same(10, 7), two = {1, 2, 1, 2};
  std::vector<uint8_t> all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<uint8_t>(i));
  EXPECT_EQ(UnigramEntropy(same), 0);
  EXPECT_NEAR(UnigramEntropy(two), std::log(2.0), 1e-12);
  EXPECT_NEAR(UnigramEntropy(all), std::log(256.0), 1e-12);
  EXPECT_EQ(UnigramEntropy({}), 0);
}

}  // namespace
}  // namespace ds::data
