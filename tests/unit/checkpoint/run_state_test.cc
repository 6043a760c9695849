#include "checkpoint/run_state.h"

#include <gtest/gtest.h>

#include <fstream>
#include <numeric>
#include <vector>

#include "base/file.h"
#include "support/temp_dir.h"
#include "tensor/shard_layout.h"

namespace ds::checkpoint {
namespace {

constexpr int64_t kSizes[] = {1, 100, 257};

// One rank of `world`: three arrays whose elements are numbered, or empty to be filled.
class Slices final : public StateSource {
 public:
  Slices(int rank, int world, bool numbered, std::span<const int64_t> sizes = kSizes)
      : rank_(rank) {
    for (const int64_t numel : sizes) {
      layouts_.push_back({numel, world});
      arrays_.emplace_back(layouts_.back().used(rank), -1.0f);
      if (!numbered) continue;
      std::iota(arrays_.back().begin(), arrays_.back().end(),
                static_cast<float>(1000 * numel + layouts_.back().begin(rank)));
    }
  }

  Status ForEachPiece(const std::function<Status(const StatePiece&)>& visit) override {
    for (size_t i = 0; i < arrays_.size(); ++i) {
      const std::string name =
          fmt::format("{}{}", prefix, i) + (i == frozen ? ".frozen/weights" : "");
      DS_TRY(visit({name, layouts_[i].numel, layouts_[i].begin(rank_), arrays_[i]}));
    }
    return {};
  }
  const std::vector<std::vector<float>>& arrays() const { return arrays_; }

  std::string prefix = "unit/";
  size_t frozen = SIZE_MAX;  // an array as states once had them of what is not trained

 private:
  const int rank_;
  std::vector<ShardLayout> layouts_;
  std::vector<std::vector<float>> arrays_;
};

Status Write(const std::string& folder, int64_t step, int world) {
  DS_ASSIGN(const int64_t save, NextSave(folder));
  RunManifest manifest{step, save, world, {}, {{"note", step}}};
  for (int r = 0; r < world; ++r) {
    Slices source(r, world, /*numbered=*/true);
    DS_TRY(WriteRunSlices(folder, manifest, r, source));
  }
  DS_TRY(CheckRunSlices(folder, manifest));
  return CommitRun(folder, manifest);
}

RunManifest Manifest(const std::string& folder) {
  auto read = ReadRunManifest(folder);
  EXPECT_TRUE(read.ok() && read->has_value()) << read.status().message();
  return **read;
}

// Ranks on hosts whose folders are not one.
TEST(RunState, ASliceThatIsNotThereIsTold) {
  const test::TempDir dir;
  ASSERT_TRUE(Write(dir.path(), 4, 2).ok());
  RunManifest manifest{9, *NextSave(dir.path()), 2, {}, Json::object()};
  Slices source(0, 2, /*numbered=*/true);
  ASSERT_TRUE(WriteRunSlices(dir.path(), manifest, 0, source).ok());
  EXPECT_EQ(CheckRunSlices(dir.path(), manifest).message(),
            dir.file("step-9.save-2.slice-1-of-2.safetensors") +
                ": not there, where all 2 ranks have saved: is it one folder?");
  Slices other(1, 2, /*numbered=*/true);
  ASSERT_TRUE(WriteRunSlices(dir.path(), manifest, 1, other).ok());
  EXPECT_TRUE(CheckRunSlices(dir.path(), manifest).ok());
}

// The weights below adapters come from where they lie, and states no longer have them.
TEST(RunState, OfWhatIsNotTrainedNothingIsRead) {
  const test::TempDir dir;
  const RunManifest manifest{3, 1, 1, {}, Json::object()};
  Slices older(0, 1, /*numbered=*/true);
  older.frozen = 2;
  ASSERT_TRUE(WriteRunSlices(dir.path(), manifest, 0, older).ok());
  Slices got(0, 1, /*numbered=*/false, std::span(kSizes).first(2));
  const Status status = ReadRunSlices(dir.path(), manifest, got);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(got.arrays()[1], older.arrays()[1]);
}

TEST(RunState, AnyWorldReadsWhatAnyWorldWrote) {
  for (const int wrote : {1, 2, 3, 5}) {
    const test::TempDir dir;
    ASSERT_TRUE(Write(dir.path(), 7, wrote).ok());
    const RunManifest manifest = Manifest(dir.path());
    EXPECT_EQ(manifest.step, 7);
    EXPECT_EQ(manifest.world, wrote);
    EXPECT_EQ(manifest.facts["note"], 7);
    for (const int reads : {1, 2, 4}) {
      for (int r = 0; r < reads; ++r) {
        Slices want(r, reads, /*numbered=*/true), got(r, reads, /*numbered=*/false);
        const Status status = ReadRunSlices(dir.path(), manifest, got);
        ASSERT_TRUE(status.ok()) << status.message();
        EXPECT_EQ(got.arrays(), want.arrays()) << wrote << " -> " << reads << ", rank " << r;
      }
    }
  }
}

TEST(RunState, AnEmptyFolderHasNone) {
  const test::TempDir dir;
  auto none = ReadRunManifest(dir.path());
  ASSERT_TRUE(none.ok());
  EXPECT_FALSE(none->has_value());
  EXPECT_TRUE(ReadRunManifest(dir.file("no such folder")).ok());
}

TEST(RunState, ANewStateReplacesTheOldOne) {
  const test::TempDir dir;
  ASSERT_TRUE(Write(dir.path(), 1, 3).ok());
  EXPECT_EQ(dir.entries(), 4u);
  dir.Write("step-9.save-4.slice-0-of-1.safetensors.tmp.12.0", "left by a killed writer");
  dir.Write("mine.txt", "not ours");
  ASSERT_TRUE(Write(dir.path(), 2, 2).ok());
  EXPECT_EQ(Manifest(dir.path()).step, 2);
  EXPECT_EQ(dir.entries(), 4u);  // manifest, two slices, what is not ours
}

TEST(RunState, SlicesWithoutAManifestLeaveTheOldState) {
  const test::TempDir dir;
  ASSERT_TRUE(Write(dir.path(), 1, 2).ok());
  Slices source(0, 2, /*numbered=*/true);
  // Killed before rank 1 wrote.
  ASSERT_TRUE(WriteRunSlices(dir.path(), {2, *NextSave(dir.path()), 2, {}, {}}, 0, source).ok());
  const RunManifest manifest = Manifest(dir.path());
  EXPECT_EQ(manifest.step, 1);
  Slices got(1, 2, /*numbered=*/false);
  EXPECT_TRUE(ReadRunSlices(dir.path(), manifest, got).ok());
}

// Another run, begun anew in the folder of the first, comes to the same step in the same world.
TEST(RunState, AKilledSaveOfTheSameStepDoesNotMixWithTheOldState) {
  const test::TempDir dir;
  ASSERT_TRUE(Write(dir.path(), 5, 2).ok());
  Slices blank(0, 2, /*numbered=*/false);  // what the second run's rank 0 had
  const RunManifest second{5, *NextSave(dir.path()), 2, {}, {}};
  ASSERT_TRUE(WriteRunSlices(dir.path(), second, 0, blank).ok());  // killed before rank 1 wrote
  for (int r = 0; r < 2; ++r) {
    Slices want(r, 2, /*numbered=*/true), got(r, 2, /*numbered=*/false);
    ASSERT_TRUE(ReadRunSlices(dir.path(), Manifest(dir.path()), got).ok());
    EXPECT_EQ(got.arrays(), want.arrays()) << r;
  }
  // A third one takes the number that the killed one left, and all of its files.
  ASSERT_TRUE(Write(dir.path(), 5, 2).ok());
  EXPECT_EQ(Manifest(dir.path()).save, second.save);
  EXPECT_EQ(dir.entries(), 3u);
  Slices want(0, 2, /*numbered=*/true), got(0, 2, /*numbered=*/false);
  ASSERT_TRUE(ReadRunSlices(dir.path(), Manifest(dir.path()), got).ok());
  EXPECT_EQ(got.arrays(), want.arrays());
}

TEST(RunState, AnUnreadableManifestHoldsNoNumberBack) {
  const test::TempDir dir;
  dir.Write("run.json", "{");
  EXPECT_EQ(*NextSave(dir.path()), 1);
  ASSERT_TRUE(Write(dir.path(), 5, 1).ok());
  EXPECT_EQ(Manifest(dir.path()).step, 5);
}

void ExpectRefused(const Status& status, Code code, const std::string& part) {
  EXPECT_EQ(status.code(), code) << status.message();
  EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
}

TEST(RunState, DamageIsFound) {
  const test::TempDir dir;
  ASSERT_TRUE(Write(dir.path(), 3, 1).ok());
  const RunManifest manifest = Manifest(dir.path());
  const std::string path = dir.file("step-3.save-1.slice-0-of-1.safetensors");
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-1, std::ios::end);
  file.put(0x55);
  file.close();
  Slices got(0, 1, /*numbered=*/false);
  ExpectRefused(ReadRunSlices(dir.path(), manifest, got), Code::kCorruptData, "checksum");
  std::filesystem::remove(path);
  ExpectRefused(ReadRunSlices(dir.path(), manifest, got), Code::kNotFound, path);
}

// Whole files with checksums of their own, none of which is the state that was committed.
TEST(RunState, SlicesThatAreNotThoseOfTheSaveAreRefused) {
  const auto name = [](int step, int save, int slice) {
    return fmt::format("step-{}.save-{}.slice-{}-of-2.safetensors", step, save, slice);
  };
  constexpr int64_t kEven[] = {64, 128};  // slices of one length
  const auto write = [&](const std::string& folder, const char* prefix) {
    RunManifest manifest{3, 1, 2, {}, Json::object()};
    for (int r = 0; r < 2; ++r) {
      Slices source(r, 2, /*numbered=*/true, kEven);
      if (*prefix != 0) source.prefix = prefix;
      ASSERT_TRUE(WriteRunSlices(folder, manifest, r, source).ok());
    }
    ASSERT_TRUE(CheckRunSlices(folder, manifest).ok());
    ASSERT_TRUE(CommitRun(folder, manifest).ok());
  };
  const auto refused = [&](const test::TempDir& dir, int slice) {
    Slices got(0, 2, /*numbered=*/false, kEven);
    const Status status = ReadRunSlices(dir.path(), Manifest(dir.path()), got);
    ExpectRefused(status, Code::kCorruptData, name(3, 1, slice));
    ExpectRefused(status, Code::kCorruptData, "digest");
  };
  const auto copy = [](const std::string& from, const std::string& to) {
    std::filesystem::copy_file(from, to, std::filesystem::copy_options::overwrite_existing);
  };
  const test::TempDir twice, swapped, mixed, other;
  for (const test::TempDir* dir : {&twice, &swapped, &mixed}) write(dir->path(), "");
  write(other.path(), "block/");
  copy(twice.file(name(3, 1, 0)), twice.file(name(3, 1, 1)));
  refused(twice, 1);
  std::filesystem::rename(swapped.file(name(3, 1, 0)), swapped.file("spare"));
  std::filesystem::rename(swapped.file(name(3, 1, 1)), swapped.file(name(3, 1, 0)));
  std::filesystem::rename(swapped.file("spare"), swapped.file(name(3, 1, 1)));
  refused(swapped, 0);
  copy(other.file(name(3, 1, 1)), mixed.file(name(3, 1, 1)));
  refused(mixed, 1);
}

// Whatever bit of it: a manifest is refused, or (in its white space) is the same one.
TEST(RunState, AFlippedBitOfTheManifestIsFound) {
  const test::TempDir dir;
  ASSERT_TRUE(Write(dir.path(), 3, 2).ok());
  const std::string text = *ReadFile(dir.file("run.json"));
  const RunManifest want = Manifest(dir.path());
  int refused = 0;
  for (size_t bit = 0; bit < 8 * text.size(); ++bit) {
    std::string flipped = text;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    dir.Write("run.json", flipped);
    auto read = ReadRunManifest(dir.path());
    if (!read.ok()) {
      EXPECT_EQ(read.status().code(), Code::kCorruptData) << read.status().message();
      ++refused;
      continue;
    }
    ASSERT_TRUE(read->has_value());
    const RunManifest& found = **read;
    EXPECT_TRUE(found.slices == want.slices && found.facts == want.facts &&
                found.step == want.step && found.save == want.save && found.world == want.world)
        << flipped;
  }
  EXPECT_GT(refused, static_cast<int>(6 * text.size()));
}

// States of before the manifest had sums.
TEST(RunState, AStateOfFormat2IsRead) {
  const test::TempDir dir;
  ASSERT_TRUE(Write(dir.path(), 3, 2).ok());
  dir.Write("run.json", R"({"format": 2, "step": 3, "save": 1, "world": 2, "facts": {}})");
  Slices want(0, 1, /*numbered=*/true), got(0, 1, /*numbered=*/false);
  ASSERT_TRUE(ReadRunSlices(dir.path(), Manifest(dir.path()), got).ok());
  EXPECT_EQ(got.arrays(), want.arrays());
}

TEST(RunState, OtherArraysAreNamed) {
  const test::TempDir dir;
  ASSERT_TRUE(Write(dir.path(), 3, 2).ok());
  Slices other(0, 2, /*numbered=*/false);
  other.prefix = "block/";
  ExpectRefused(ReadRunSlices(dir.path(), Manifest(dir.path()), other), Code::kNotFound, "block/0");
}

// Also where what this rank wants lies wholly in slices of others, or is nothing at all.
TEST(RunState, AnotherLengthIsFoundByEveryRank) {
  const test::TempDir dir;
  ASSERT_TRUE(Write(dir.path(), 3, 2).ok());
  constexpr int64_t kOthers[] = {1, 100, 264};
  for (int r = 0; r < 4; ++r) {
    Slices other(r, 4, /*numbered=*/false, kOthers);
    ExpectRefused(ReadRunSlices(dir.path(), Manifest(dir.path()), other), Code::kCorruptData,
                  "unit/2");
  }
}

TEST(RunState, ABrokenManifestIsNoEmptyFolder) {
  for (const char* text :
       {"", "{", "[]", R"({"format": 1, "step": 1, "save": 1, "world": 1, "facts": {}})",
        R"({"format": 3, "step": 1, "save": 1, "world": 1, "slices": ["0"], "facts": {}})",
        R"({"format": 3, "step": 1, "save": 1, "world": 1, "facts": {}, "checksum": "0"})",
        R"({"format": 2, "step": -1, "save": 1, "world": 1, "facts": {}})",
        R"({"format": 2, "step": 1, "save": 0, "world": 1, "facts": {}})",
        R"({"format": 2, "step": 1, "save": 1, "world": 0, "facts": {}})",
        R"({"format": 2, "step": 1, "world": 1, "facts": {}})",
        R"({"format": 2, "step": 1, "save": 1, "world": 1})",
        R"({"format": 2, "step": "x", "save": 1, "world": 1})"}) {
    const test::TempDir dir;
    dir.Write("run.json", text);
    const Status status = ReadRunManifest(dir.path()).status();
    ExpectRefused(status, Code::kCorruptData, "run.json");
    EXPECT_EQ(status.message().find("run.json"), status.message().rfind("run.json"))
        << status.message();
  }
}

}  // namespace
}  // namespace ds::checkpoint
