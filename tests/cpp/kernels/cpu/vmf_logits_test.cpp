#include "kernels/cpu/vmf_logits.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "../von_mises_fisher.h"
#include "kernels/argument_error.h"
#include "random.h"

namespace paco::testing {
namespace {

template <typename T>
constexpr ElementType kType =
    std::is_same_v<T, double> ? ElementType::kFloat64 : ElementType::kFloat32;

template <typename T>
struct Problem {
  int64_t dim;
  std::vector<T> features;
  std::vector<T> mean_direction;
  std::vector<T> concentration;
  double temperature = 0.2;

  Problem(Random& random, int64_t anchors, int64_t classes, int64_t dim) : dim(dim) {
    features = rounded(random.unit_rows(anchors, dim));
    mean_direction = rounded(random.unit_rows(classes, dim));
    for (int64_t c = 0; c < classes; ++c) {
      concentration.push_back(static_cast<T>(random.chance(0.1) ? 0 : random.real(0, 200)));
    }
    if (random.chance(0.5)) {  // a class without a direction
      for (int64_t d = 0; d < dim; ++d) mean_direction[d] = 0;
    }
  }

  static std::vector<T> rounded(const std::vector<double>& numbers) {
    return {numbers.begin(), numbers.end()};
  }

  VmfProblem plain() const {
    return {.type = kType<T>,
            .features = features.data(),
            .mean_direction = mean_direction.data(),
            .concentration = concentration.data(),
            .num_anchors = static_cast<int64_t>(features.size()) / dim,
            .num_classes = static_cast<int64_t>(concentration.size()),
            .dim = dim,
            .temperature = temperature};
  }
};

template <typename T>
void expect_solved(int64_t anchors, int64_t classes, int64_t dim, double tolerance) {
  const uint64_t seed = fresh_seed();
  SCOPED_TRACE("seed " + std::to_string(seed) + ", D " + std::to_string(dim));
  Random random(seed);
  const Problem<T> problem(random, anchors, classes, dim);
  const VmfSolution solution = solve_vmf(problem.features, problem.mean_direction,
                                         problem.concentration, dim, problem.temperature);
  std::vector<T> logits(anchors * classes);
  std::vector<T> slope(anchors * classes);
  cpu::vmf_logits_forward(problem.plain(), {logits.data(), slope.data()}, test_threads<3>());
  std::vector<T> alone(anchors * classes);
  cpu::vmf_logits_forward(problem.plain(), {alone.data(), nullptr}, test_threads<1>());
  for (int64_t k = 0; k < anchors * classes; ++k) {
    ASSERT_NEAR(logits[k], solution.logits[k], tolerance) << k;
    ASSERT_NEAR(slope[k] / solution.slope[k], 1, tolerance * 10) << k;
    ASSERT_EQ(alone[k], logits[k]) << k;
  }

  std::vector<T> upstream(anchors * classes);
  const std::vector<double> drawn = random.normal(anchors * classes);
  std::copy(drawn.begin(), drawn.end(), upstream.begin());
  std::vector<T> gradient(anchors * dim);
  cpu::vmf_logits_backward(problem.plain(), {upstream.data(), slope.data(), gradient.data()},
                           test_threads<3>());
  for (int64_t i = 0; i < anchors; ++i) {
    for (int64_t d = 0; d < dim; ++d) {
      double expected = 0;
      double size = 0;
      for (int64_t c = 0; c < classes; ++c) {
        const double term = upstream[i * classes + c] * solution.slope[i * classes + c] *
                            (problem.concentration[c] * problem.mean_direction[c * dim + d] +
                             problem.features[i * dim + d] / problem.temperature);
        expected += term;
        size += std::abs(term);
      }
      ASSERT_NEAR(gradient[i * dim + d], expected, tolerance * (size + 1)) << i << ", " << d;
    }
  }
}

TEST(VmfLogitsKernel, IsTheDefinitionInFloat64) {
  for (const int64_t dim : {2, 3, 10, 33, 60}) expect_solved<double>(7, 20, dim, 1e-9);
}

TEST(VmfLogitsKernel, IsTheDefinitionInFloat32) {
  for (const int64_t dim : {2, 3, 32, 33, 60}) expect_solved<float>(7, 20, dim, 1e-5);
}

TEST(VmfLogitsKernel, BlocksOfClassesAndTilesOfAnchors) {
  expect_solved<float>(130, 300, 40, 1e-5);
  expect_solved<float>(64, 128, 40, 1e-5);
  expect_solved<double>(1, 1, 300, 1e-9);
}

TEST(VmfLogitsKernel, RefusesStatisticsAndWritesNothing) {
  Random random(fresh_seed());
  const Problem<float> good(random, 2, 3, 4);
  const auto expect_refused = [](const Problem<float>& problem, const std::string& message) {
    std::vector<float> logits(6, -1);
    try {
      cpu::vmf_logits_forward(problem.plain(), {logits.data(), nullptr}, test_threads<1>());
      ADD_FAILURE() << "accepted, instead of: " << message;
    } catch (const ArgumentError& error) {
      EXPECT_EQ(std::string(error.what()), message);
    }
    EXPECT_EQ(logits, std::vector<float>(6, -1));
  };
  Problem<float> bad = good;
  bad.concentration[1] = -1;
  expect_refused(bad, "concentration must be finite and >= 0, got -1 at 1");
  bad.concentration[1] = std::numeric_limits<float>::quiet_NaN();
  expect_refused(bad, "concentration must be finite and >= 0, got nan at 1");
  bad = good;
  for (int64_t d = 0; d < 4; ++d) bad.mean_direction[8 + d] = 1;
  expect_refused(bad, "mean_direction must have rows of length 1 or 0, got 2 at 2");
}

}  // namespace
}  // namespace paco::testing
