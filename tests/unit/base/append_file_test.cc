#include "base/append_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>

#include "base/file.h"
#include "support/temp_dir.h"

namespace ds {
namespace {

TEST(AppendFile, GoesOnWhereTheFileEnds) {
  const test::TempDir folder;
  const std::string path = folder.path() + "/log";
  {
    auto file = AppendFile::Open(path);
    ASSERT_TRUE(file.ok()) << file.status().message();
    EXPECT_TRUE(file->Append("one\n").ok());
    EXPECT_TRUE(file->Append("").ok());
  }
  auto file = AppendFile::Open(path);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->bytes(), 4);
  AppendFile moved = std::move(file).Take();
  EXPECT_TRUE(moved.Append("two\n").ok());
  EXPECT_EQ(moved.bytes(), 8);
  EXPECT_EQ(*ReadFile(path), "one\ntwo\n");
}

TEST(AppendFile, NamesWhatItCannotOpen) {
  const test::TempDir folder;
  const auto file = AppendFile::Open(folder.path() + "/no/log");
  EXPECT_NE(file.status().message().find("/no/log: cannot open"), std::string::npos);
}

// A disk that fills in the middle of a record, as the limit of a file's size makes one.
TEST(AppendFile, LeavesNoPartOfARecord) {
  const test::TempDir folder;
  const std::string path = folder.path() + "/log";
  auto file = AppendFile::Open(path);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->Append("0123456789").ok());
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit low = {15, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &low), 0);
  const Status full = file->Append("abcdefghij");
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(full.code(), Code::kIo);
  EXPECT_NE(full.message().find(path + ": cannot write: File too large"), std::string::npos);
  EXPECT_EQ(*ReadFile(path), "0123456789");
}

}  // namespace
}  // namespace ds
