#include <ATen/Version.h>
#include <gtest/gtest.h>
#include <paco/build_info.h>
#include <torch/version.h>

#include <algorithm>

namespace paco {
namespace {

TEST(BuildInfo, IsThatOfThisBuild) {
  const BuildInfo info = build_info();
  EXPECT_EQ(info.version, PACO_EXPECTED_VERSION);  // of pyproject.toml
  EXPECT_EQ(info.torch_version, TORCH_VERSION);
  EXPECT_EQ(info.cxx11_abi, _GLIBCXX_USE_CXX11_ABI != 0);
  EXPECT_FALSE(info.compiler.empty());
  EXPECT_FALSE(info.build_type.empty());
  EXPECT_EQ(info.cpu_capabilities.at(0), "DEFAULT");
  EXPECT_EQ(
      std::count(info.cpu_capabilities.begin(), info.cpu_capabilities.end(), info.cpu_capability),
      1);
}

}  // namespace
}  // namespace paco
