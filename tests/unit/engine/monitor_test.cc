#include "engine/monitor.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "support/temp_dir.h"

namespace ds {
namespace {

TEST(Monitor, CsvFilesAreDeepSpeeds) {
  const test::TempDir folder;
  const MonitorOptions options = {
      .csv = {.enabled = true, .output_path = folder.path(), .job_name = "job"}};
  const Scalar first[] = {{"Train/Samples/lr", 0.5}, {"Train/Samples/train loss", 2.25}};
  for (int64_t samples : {8, 16}) {  // a second monitor goes on in the same files
    auto monitor = Monitor::Create(options);
    ASSERT_TRUE(monitor.ok()) << monitor.status().message();
    (*monitor)->Write(samples, first);
    EXPECT_TRUE((*monitor)->status().ok());
  }
  EXPECT_EQ(*ReadFile(folder.path() + "/job/Train_Samples_lr.csv"), "step,lr\n8,0.5\n16,0.5\n");
  EXPECT_EQ(*ReadFile(folder.path() + "/job/Train_Samples_train_loss.csv"),
            "step,train loss\n8,2.25\n16,2.25\n");
}

TEST(Monitor, EventFilesAreOneARun) {
  const test::TempDir folder;
  const MonitorOptions options = {.tensorboard = {.enabled = true, .output_path = folder.path()}};
  for (int run = 0; run < 2; ++run) {
    auto monitor = Monitor::Create(options);
    ASSERT_TRUE(monitor.ok()) << monitor.status().message();
    (*monitor)->Write(8, std::vector<Scalar>{{"a", 1.0}});
  }
  const std::filesystem::directory_iterator files(folder.path() + "/DeepSpeedJobName");
  EXPECT_EQ(std::distance(begin(files), end(files)), 2);
}

TEST(Monitor, NamesTheFolderThatCannotBe) {
  const test::TempDir folder;
  ASSERT_TRUE(WriteFileAtomic(folder.path() + "/file", "").ok());
  for (const bool csv : {false, true}) {
    const MonitorOptions::Sink sink = {.enabled = true, .output_path = folder.path() + "/file"};
    const auto monitor =
        Monitor::Create(csv ? MonitorOptions{.csv = sink} : MonitorOptions{.tensorboard = sink});
    EXPECT_NE(monitor.status().message().find("file/DeepSpeedJobName"), std::string::npos)
        << monitor.status().message();
  }
}

}  // namespace
}  // namespace ds
