#include <gtest/gtest.h>
#include <paco/kernels/cuda/device/vmf_logits.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "../von_mises_fisher.h"
#include "host_context.h"

namespace paco::cuda {
namespace {

constexpr int kThreads = 32;

// The launch of vmf_logits.cu, for products that are exact.
template <typename T, typename Sum>
void expect_solved(int64_t anchors, int64_t classes, int64_t dim, double tolerance) {
  SCOPED_TRACE("D " + std::to_string(dim));
  std::mt19937_64 random{std::random_device{}()};
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform(0, 200);
  const double temperature = 0.2;
  const auto size = [](int64_t count) { return static_cast<size_t>(count); };
  const auto unit_rows = [&](int64_t rows) {
    std::vector<double> result(size(rows * dim));
    for (auto& number : result) number = normal(random);
    for (int64_t r = 0; r < rows; ++r) {
      double square = 0;
      for (int64_t d = 0; d < dim; ++d) square += std::pow(result[size(r * dim + d)], 2);
      for (int64_t d = 0; d < dim; ++d) result[size(r * dim + d)] /= std::sqrt(square);
    }
    return result;
  };
  const auto features = unit_rows(anchors);
  const auto directions = unit_rows(classes);
  std::vector<double> concentration(size(classes));
  for (auto& kappa : concentration) kappa = static_cast<float>(uniform(random));
  concentration[0] = 0;
  const auto solution = testing::solve_vmf(features, directions, concentration, dim, temperature);

  std::vector<T> products(size(anchors * classes));
  for (int64_t i = 0; i < anchors; ++i) {
    for (int64_t c = 0; c < classes; ++c) {
      double product = 0;
      for (int64_t d = 0; d < dim; ++d) {
        product += features[size(i * dim + d)] * directions[size(c * dim + d)];
      }
      products[size(i * classes + c)] = static_cast<T>(product);
    }
  }
  const std::vector<T> squares(size(anchors), static_cast<T>(1 / temperature / temperature));
  const std::vector<Sum> kappa(concentration.begin(), concentration.end());
  std::vector<Sum> logits(products.size());
  std::vector<Sum> slope(products.size());
  VmfPairs<T, Sum> pairs{vmf_series<T>(dim),
                         products.data(),
                         squares.data(),
                         kappa.data(),
                         logits.data(),
                         slope.data(),
                         anchors,
                         classes,
                         static_cast<T>(temperature)};
  const int64_t blocks = divide_up(classes, kThreads) * divide_up(anchors, kVmfBlockAnchors);
  const auto launch = [&] {
    launch_on_host({blocks, 1}, kThreads, 0,
                   [&](HostContext& context) { vmf_pairs(context, pairs); });
  };
  launch();
  for (size_t k = 0; k < logits.size(); ++k) {
    ASSERT_NEAR(logits[k], solution.logits[k], tolerance) << k;
    ASSERT_NEAR(slope[k] / solution.slope[k], 1, 10 * tolerance) << k;
  }
  const auto before = logits;
  pairs.slope = nullptr;
  launch();
  EXPECT_EQ(logits, before);
}

TEST(VmfLogitsTest, IsTheDefinition) {
  for (const int64_t dim : {2, 3, 32}) {
    expect_solved<double, double>(3, 40, dim, 1e-9);
    expect_solved<double, float>(3, 40, dim, 1e-5);
  }
  for (const int64_t dim : {33, 60}) expect_solved<float, float>(3, 40, dim, 1e-5);
}

TEST(VmfLogitsTest, SeveralBlocksOfAnchorsAndClasses) {
  expect_solved<float, float>(2 * kVmfBlockAnchors + 1, 2 * kThreads + 1, 40, 1e-5);
  expect_solved<float, float>(kVmfBlockAnchors, kThreads, 40, 1e-5);
}

}  // namespace
}  // namespace paco::cuda
