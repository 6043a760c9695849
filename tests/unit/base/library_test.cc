#include "base/library.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "support/temp_dir.h"

namespace ds {
namespace {

class LibraryTest : public testing::Test {
 protected:
  ~LibraryTest() override { unsetenv("DS_MODULE_PATH"); }
};

TEST_F(LibraryTest, AMissingModuleNamesEveryPlaceThatWasTried) {
  setenv("DS_MODULE_PATH", "/nowhere/a::/nowhere/b", 1);
  const auto module = LoadModule("libnone.so");
  EXPECT_EQ(module.status().code(), Code::kNotFound);
  EXPECT_EQ(module.status().message(),
            "libnone.so was not found (looked for /nowhere/a/libnone.so, /nowhere/b/libnone.so)");
}

TEST_F(LibraryTest, WithoutAPathItLooksBesideTheProgram) {
  const auto module = LoadModule("libnone.so");
  EXPECT_EQ(module.status().code(), Code::kNotFound);
  EXPECT_NE(module.status().message().find(DS_BINARY_DIR), std::string::npos)
      << module.status().message();
}

TEST_F(LibraryTest, AFileThatIsNoLibrarySaysSo) {
  const test::TempDir folder;
  folder.Write("libbad.so", "not an object");
  setenv("DS_MODULE_PATH", folder.path().c_str(), 1);
  const auto module = LoadModule("libbad.so");
  EXPECT_EQ(module.status().code(), Code::kUnsupported);
  EXPECT_NE(module.status().message().find("libbad.so cannot be loaded: "), std::string::npos)
      << module.status().message();
}

TEST_F(LibraryTest, SymbolsAreFoundOrNamed) {
  setenv("DS_MODULE_PATH", "/lib/x86_64-linux-gnu:/usr/lib64:/lib64", 1);
  auto module = LoadModule("libm.so.6");
  if (!module.ok()) GTEST_SKIP() << module.status().message();
  auto cosine = FindSymbol(*module, "libm.so.6", "cos");
  ASSERT_TRUE(cosine.ok());
  EXPECT_EQ(reinterpret_cast<double (*)(double)>(*cosine)(0.0), 1.0);
  EXPECT_EQ(FindSymbol(*module, "libm.so.6", "no_such").status().message(),
            "libm.so.6 has no symbol no_such");
}

}  // namespace
}  // namespace ds
