#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "support/temp_dir.h"

namespace ds {
namespace {

using test::TempDir;

TEST(AtomicFile, AppearsWholeOrNotAtAll) {
  TempDir dir;
  const std::string path = dir.file("f");
  ASSERT_TRUE(WriteFileAtomic(path, "old").ok());
  {
    auto file = AtomicFile::Create(path);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->Write("half").ok());
    EXPECT_EQ(*ReadFile(path), "old");
  }  // never committed
  EXPECT_EQ(*ReadFile(path), "old");
  EXPECT_EQ(dir.entries(), 1u);  // and nothing is left beside it

  auto file = AtomicFile::Create(path);
  ASSERT_TRUE(file.ok());
  AtomicFile moved(std::move(file).Take());
  ASSERT_TRUE(moved.Write("new ").ok());
  ASSERT_TRUE(moved.Write("text").ok());
  ASSERT_TRUE(moved.Commit().ok());
  EXPECT_EQ(*ReadFile(path), "new text");
  EXPECT_EQ(dir.entries(), 1u);
  struct stat info;
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0400, 0400u);
}

TEST(AtomicFile, ItsHeadCanComeLast) {
  TempDir dir;
  const std::string path = dir.file("f");
  auto file = AtomicFile::Create(path);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->Write("????, text").ok());
  ASSERT_TRUE(file->WriteAt(0, std::as_bytes(std::span("head", 4))).ok());
  ASSERT_TRUE(file->Write(" and more").ok());
  ASSERT_TRUE(file->Commit().ok());
  EXPECT_EQ(*ReadFile(path), "head, text and more");
}

TEST(AtomicFile, SaysWhy) {
  TempDir dir;
  const std::string path = dir.path() + "/none/f";
  const Status status = WriteFileAtomic(path, "x");
  EXPECT_EQ(status.code(), Code::kNotFound);
  EXPECT_EQ(status.message(), path + ": cannot create: No such file or directory");
  // The path is a folder: nothing is replaced, and the temporary file goes.
  ASSERT_TRUE(MakeDirectories(dir.file("a/b")).ok());
  EXPECT_FALSE(WriteFileAtomic(dir.file("a"), "x").ok());
  EXPECT_EQ(dir.entries(), 1u);
}

TEST(MakeDirectories, NamesALinkToNothing) {
  test::TempDir dir;
  const std::string link = dir.file("link"), target = dir.file("none");
  std::filesystem::create_symlink(target, link);
  EXPECT_EQ(
      MakeDirectories(link).message(),
      fmt::format("{}: cannot make the folder: it is a link to {}, which is none", link, target));
  const std::string file = dir.Write("f", "");
  EXPECT_EQ(MakeDirectories(file).message(), file + ": cannot make the folder: Not a directory");
}

TEST(MappedFile, ReadsAndRefuses) {
  TempDir dir;
  auto file = MappedFile::Open(dir.Write("f", "hello"));
  ASSERT_TRUE(file.ok());
  MappedFile moved(std::move(file).Take());
  EXPECT_EQ(moved.bytes().size(), 5u);
  EXPECT_EQ(static_cast<char>(moved.bytes()[4]), 'o');
  EXPECT_TRUE(MappedFile::Open(dir.Write("empty", ""))->bytes().empty());

  EXPECT_EQ(MappedFile::Open(dir.path()).status().message(),
            dir.path() + ": is a directory, expected a file");
  EXPECT_EQ(MappedFile::Open("/dev/null").status().message(),
            "/dev/null: is no regular file, expected a file");
  EXPECT_EQ(MappedFile::Open(dir.file("none")).status().code(), Code::kNotFound);
  EXPECT_EQ(ReadFile(moved.path(), 4).status().message(),
            moved.path() + ": 5 bytes, at most 4 are read");
}

TEST(MappedFile, WhatIsForgottenIsReadAgain) {
  const TempDir dir;
  std::string text(100000, 'a');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i % 23);
  auto file = MappedFile::Open(dir.Write("f", text));
  ASSERT_TRUE(file.ok());
  const auto bytes = file->bytes();
  const std::string elsewhere = "stays";
  for (const auto part : {bytes, bytes.subspan(5000, 3), bytes.last(1), bytes.first(0),
                          std::as_bytes(std::span(elsewhere))}) {
    file->Forget(part);
  }
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), text);
  EXPECT_EQ(elsewhere, "stays");
  // What the mapping holds of the process's memory, which has just been read.
  const auto held = [&] {
    std::ifstream maps("/proc/self/smaps");
    const std::string begin = fmt::format("{:x}-", reinterpret_cast<uintptr_t>(bytes.data()));
    std::string line;
    while (std::getline(maps, line) && !line.starts_with(begin)) {
    }
    while (std::getline(maps, line) && !line.starts_with("Rss:")) {
    }
    return std::stoll(line.substr(4));
  };
  EXPECT_GE(held(), 96);  // KiB
  file->Forget(bytes);
  EXPECT_EQ(held(), 0);
}

}  // namespace
}  // namespace ds
