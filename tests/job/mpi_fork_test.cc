// A child of a rank: it knows nothing of MPI, and ends without it.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "comm/communicator.h"

namespace ds::comm {
namespace {

TEST(MpiFork, AChildThatExitsDoesNotWaitForTheJob) {
  auto group = CreateMpi({.timeout_seconds = 60}, nullptr);
  ASSERT_TRUE(group.ok()) << group.status().message();
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) std::exit(7);
  int status = 0;
  pid_t ended = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (ended == 0 && std::chrono::steady_clock::now() < end) {
    ended = waitpid(child, &status, WNOHANG);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(ended, child) << "it waits in MPI";
  if (ended != child) {
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
  }
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7);
  EXPECT_TRUE((*group)->Barrier("after").ok());
}

}  // namespace
}  // namespace ds::comm
