// What tests of the C API ask of it again and again.
#pragma once

#include <deepspeed/deepspeed.h>
#include <gtest/gtest.h>

#include <string>

namespace ds::test {

// The message of this thread's error, which is gone with it.
inline std::string TakeMessage() {
  ds_error* error = ds_error_take();
  std::string message = ds_error_get_message(error);
  ds_error_destroy(error);
  return message;
}

inline int32_t RankOf(const ds_comm* comm) {
  int32_t rank = -1;
  EXPECT_EQ(ds_comm_get_rank(comm, &rank), DS_OK);
  return rank;
}

}  // namespace ds::test
