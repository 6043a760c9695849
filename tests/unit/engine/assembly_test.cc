// What DS_GEMM and DS_CPU_ISA may say.
#include "engine/assembly.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

namespace ds {
namespace {

class Environment : public testing::Test {
 protected:
  void TearDown() override {
    unsetenv("DS_GEMM");
    unsetenv("DS_CPU_ISA");
  }
};

TEST_F(Environment, NothingSaidIsWell) { EXPECT_TRUE(CheckEnvironment().ok()); }

TEST_F(Environment, AProductThatIsNamedServes) {
  setenv("DS_GEMM", "simd", 1);
  EXPECT_TRUE(CheckEnvironment().ok());
  EXPECT_STREQ(CreateGemm()->name(), "simd");
}

TEST_F(Environment, UnknownNamesAreRefused) {
  setenv("DS_GEMM", "mkl", 1);
  EXPECT_EQ(CheckEnvironment().code(), Code::kInvalidArgument);
  EXPECT_EQ(CheckEnvironment().message(), "DS_GEMM is \"mkl\", expected onednn or simd");
  unsetenv("DS_GEMM");
  setenv("DS_CPU_ISA", "", 1);
  EXPECT_EQ(CheckEnvironment().message(), "DS_CPU_ISA is \"\", expected ref, sse4, avx2 or avx512");
  for (const char* name : {"ref", "sse4", "avx2", "avx512"}) {
    setenv("DS_CPU_ISA", name, 1);
    EXPECT_TRUE(CheckEnvironment().ok()) << name;
  }
}

}  // namespace
}  // namespace ds
