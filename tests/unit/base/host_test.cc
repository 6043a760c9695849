#include "base/host.h"

#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "support/temp_dir.h"

namespace ds {
namespace {

// A host whose process has these groups, with files of limits: a path below cgroup, and a text.
GroupLimits LimitsOf(const std::string& groups,
                     std::initializer_list<std::pair<const char*, const char*>> files) {
  const test::TempDir root;
  std::filesystem::create_directories(root.file("proc/self"));
  root.Write("proc/self/cgroup", groups);
  for (const auto& [path, text] : files) {
    const std::string name = std::string("sys/fs/cgroup/") + path;
    std::filesystem::create_directories(std::filesystem::path(root.file(name)).parent_path());
    root.Write(name, text);
  }
  return ReadGroupLimits(root.path());
}

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

TEST(Host, TheLeastLimitOnTheWayToTheRootHolds) {
  const GroupLimits limits = LimitsOf("0::/pod/main\n", {{"pod/main/memory.max", "max\n"},
                                                         {"pod/main/cpu.max", "300000 100000\n"},
                                                         {"pod/memory.max", "1048576\n"},
                                                         {"pod/cpu.max", "150000 100000\n"},
                                                         {"memory.max", "2097152\n"}});
  EXPECT_EQ(limits.memory, 1048576);
  EXPECT_EQ(limits.cores, 1.5);
}

// A container that sees its own group as the root, but the way to it as the host has it.
TEST(Host, ARootIsLookedAtWhereTheWayToItIsHidden) {
  const GroupLimits limits = LimitsOf("0::/system.slice/docker-1.scope\n",
                                      {{"memory.max", "4096\n"}, {"cpu.max", "50000 100000\n"}});
  EXPECT_EQ(limits.memory, 4096);
  EXPECT_EQ(limits.cores, 0.5);
}

TEST(Host, TheFirstVersionHasAFolderAController) {
  const GroupLimits limits = LimitsOf("4:memory:/job\n3:cpuset,cpu,cpuacct:/job/step\n",
                                      {{"memory/job/memory.limit_in_bytes", "8192\n"},
                                       {"memory/memory.limit_in_bytes", "9223372036854771712\n"},
                                       {"cpu/job/step/cpu.cfs_quota_us", "-1\n"},
                                       {"cpu/job/step/cpu.cfs_period_us", "100000\n"},
                                       {"cpu/job/cpu.cfs_quota_us", "250000\n"},
                                       {"cpu/job/cpu.cfs_period_us", "100000\n"}});
  EXPECT_EQ(limits.memory, 8192);
  EXPECT_EQ(limits.cores, 2.5);
}

TEST(Host, WhatSaysNothingLimitsNothing) {
  for (const GroupLimits& limits :
       {LimitsOf("", {}), LimitsOf("garbage\n1:2\n:::\n0::\n", {{"memory.max", "max\n"}}),
        LimitsOf("0::/a\n", {{"a/memory.max", "many\n"},
                             {"a/cpu.max", "max 100000\n"},
                             {"cpu.max", "100000 0\n"}})}) {
    EXPECT_EQ(limits.memory, kNoLimit);
    EXPECT_TRUE(std::isinf(limits.cores));
  }
}

TEST(Host, ThereIsSomethingToUse) {
  EXPECT_GE(UsableCores(), 1);
  EXPECT_LE(UsableCores(), std::max(1, static_cast<int>(std::thread::hardware_concurrency())));
  EXPECT_GT(UsableMemory(), 0);
  EXPECT_LE(UsableMemory(), MachineMemory());
}

}  // namespace
}  // namespace ds
