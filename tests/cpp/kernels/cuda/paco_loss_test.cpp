#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "gathered_on_host.h"
#include "paco_loss_on_host.h"

namespace paco::cuda {
namespace {

// Errors relative to the largest entry, or to `scale` if that is more.
template <typename Number>
void expect_close(const std::string& name, const std::vector<Number>& actual,
                  const std::vector<double>& expected, double tolerance, double scale) {
  ASSERT_EQ(actual.size(), expected.size()) << name;
  double largest = scale;
  for (const double value : expected) {
    if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
  }
  for (size_t i = 0; i < actual.size(); ++i) {
    if (std::isinf(expected[i])) {
      ASSERT_EQ(actual[i], expected[i]) << name << "[" << i << "]";
    } else {
      ASSERT_NEAR(actual[i], expected[i], tolerance * largest) << name << "[" << i << "]";
    }
  }
}

// How far the products of each type may be off: pairs are exact for the problems drawn, weights of
// the second product are rounded to what the tensor cores take.
template <typename Product>
constexpr double kGradientTolerance = 2e-5;
template <>
constexpr double kGradientTolerance<Tf32Product> = 1e-3;
template <>
constexpr double kGradientTolerance<HalfProduct<Float16>> = 2e-3;
template <>
constexpr double kGradientTolerance<HalfProduct<BFloat16>> = 1e-2;

template <typename ProductType>
class PaCoLossTest : public ::testing::Test {
 protected:
  using Product = ProductType;

  RandomProblem<Product> draw(const Settings& settings) {
    return RandomProblem<Product>(settings, random_);
  }

  void expect_as_defined(const Settings& settings) {
    SCOPED_TRACE("seed " + std::to_string(seed_));
    const auto problem = draw(settings);
    expect_as_defined(problem, run(problem));
  }

  // The same on so many processes, each with some of rows, queue and, perhaps, classes.
  void expect_processes_to_make_it(const Settings& settings, int64_t processes,
                                   bool class_share = false) {
    SCOPED_TRACE("seed " + std::to_string(seed_));
    const auto problem = draw(settings);
    expect_as_defined(problem, run_on_processes(problem, processes, class_share));
  }

  static void expect_as_defined(const RandomProblem<Product>& problem, const HostRun& actual) {
    const Settings& settings = problem.settings;
    const auto expected = define(problem);
    EXPECT_EQ(actual.violated_check, "");
    EXPECT_EQ(actual.bank_conflicts, 0);
    const double tolerance = kGradientTolerance<Product>;
    const double scale = 0.1 / static_cast<double>(settings.anchors);
    const auto& results = actual.results;
    expect_close<float>("loss", {results.loss}, {expected.loss}, 2e-5, 0.1);
    expect_close("log_partition", results.log_partition, expected.log_partition, 1e-5, 1);
    expect_close("pair_weight", results.pair_weight, expected.pair_weight, 1e-6, 0);
    expect_close("anchor_grad", results.anchor_grad, expected.anchor_grad, tolerance, 0.1);
    expect_close("grad_features", results.grad_features, expected.grad_features, tolerance, scale);
    if (settings.centers) {
      expect_close("grad_center_logits", results.grad_center_logits, expected.grad_center_logits,
                   2e-5, scale);
    }
  }

  const uint64_t seed_ = std::random_device{}();
  std::mt19937_64 random_{seed_};
};

using Products =
    ::testing::Types<FloatProduct, Tf32Product, HalfProduct<Float16>, HalfProduct<BFloat16>>;
TYPED_TEST_SUITE(PaCoLossTest, Products);

TYPED_TEST(PaCoLossTest, QueriesAndKeysWithAQueue) { this->expect_as_defined({}); }

TYPED_TEST(PaCoLossTest, SeveralBlocksOfAnchorsAndManyShares) {
  this->expect_as_defined({.rows = 131, .anchors = 131, .dim = 24, .queue = 150, .shares = 5});
}

TYPED_TEST(PaCoLossTest, MoreSharesThanColumns) {
  this->expect_as_defined({.rows = 3, .anchors = 2, .queue = 4, .shares = 6});
}

TYPED_TEST(PaCoLossTest, OneRow) {
  this->expect_as_defined({.rows = 1, .anchors = 1, .queue = 0, .shares = 1});
}

TYPED_TEST(PaCoLossTest, OneRowWithoutAnythingToCompareIt) {
  this->expect_as_defined(
      {.rows = 1, .anchors = 1, .centers = false, .queue = 0, .temperature = 0.01f, .shares = 1});
}

TYPED_TEST(PaCoLossTest, EmptyQueue) { this->expect_as_defined({.queue = 70, .valid = 0}); }

TYPED_TEST(PaCoLossTest, PartlyFilledQueue) {
  this->expect_as_defined({.queue = 150, .valid = 67});
}

TYPED_TEST(PaCoLossTest, RowsThatAreNotAligned) {
  this->expect_as_defined({.rows = 67, .anchors = 5, .dim = 33});
}

TYPED_TEST(PaCoLossTest, OneDimension) { this->expect_as_defined({.dim = 1}); }

TYPED_TEST(PaCoLossTest, WideTile) {
  this->expect_as_defined({.rows = 20, .anchors = 10, .dim = 128, .queue = 70});
}

TYPED_TEST(PaCoLossTest, WidestTile) {
  this->expect_as_defined({.rows = 10, .anchors = 10, .dim = 200, .queue = 70, .shares = 1});
}

// Logits of 1e5 and 1e8: float rounds them by more than the logarithm of a sum.
TYPED_TEST(PaCoLossTest, LargeLogits) {
  this->expect_as_defined({.temperature = 1e-5f, .base_temperature = 1});
  this->expect_as_defined({.centers = false, .temperature = 1e-8f, .base_temperature = 1});
}

TYPED_TEST(PaCoLossTest, AnchorsWithoutPositivesAndALittleBeta) {
  this->expect_as_defined({.classes = 90, .alpha = 1, .beta = 1e-8f});
  this->expect_as_defined({.classes = 90, .queue = 0, .alpha = 1e10f, .beta = 1e-35f});
}

TYPED_TEST(PaCoLossTest, OneClass) { this->expect_as_defined({.classes = 1}); }

TYPED_TEST(PaCoLossTest, ManyClasses) {
  this->expect_as_defined({.rows = 6, .anchors = 3, .classes = 2500, .queue = 20});
}

TYPED_TEST(PaCoLossTest, WithoutCenters) {
  this->expect_as_defined({.classes = 40, .centers = false, .alpha = 1});
}

TYPED_TEST(PaCoLossTest, WeightsAndSmoothing) {
  this->expect_as_defined({.smoothing = 0.2f, .weighted = true});
  this->expect_as_defined({.soft = true});
  this->expect_as_defined({.classes = 300, .weighted = true, .soft = true});
}

TYPED_TEST(PaCoLossTest, SettingsOfZero) {
  this->expect_as_defined({.alpha = 0});
  this->expect_as_defined({.beta = 0});
  this->expect_as_defined({.gamma = 0});
}

// exp(p - L) of such pairs is beyond float32.
TYPED_TEST(PaCoLossTest, PairsFarAboveAPartitionWithoutThem) {
  this->expect_as_defined({.dim = 2, .classes = 2, .gamma = 0, .temperature = 0.005f});
}

TYPED_TEST(PaCoLossTest, Balanced) {
  const Settings balanced{.rows = 70,
                          .anchors = 65,
                          .centers = false,
                          .alpha = 1,
                          .base_temperature = 0.2f,
                          .balanced = true};
  const auto with = [&](auto member, auto value) {
    Settings settings = balanced;
    settings.*member = value;
    return settings;
  };
  this->expect_as_defined(balanced);
  this->expect_as_defined(with(&Settings::queue, 0));
  this->expect_as_defined(with(&Settings::valid, 67));
  this->expect_as_defined(with(&Settings::valid, 0));
  this->expect_as_defined(with(&Settings::dim, 33));
  this->expect_as_defined(with(&Settings::dim, 128));
  this->expect_as_defined(with(&Settings::dim, 200));
  this->expect_as_defined(with(&Settings::temperature, 0.05f));
  Settings one_class = with(&Settings::classes, 1);
  this->expect_as_defined(one_class);
  one_class.rows = 2;
  one_class.anchors = 1;
  one_class.queue = 0;
  this->expect_as_defined(one_class);
  Settings most_classes_are_prototypes_alone = with(&Settings::classes, 60);
  most_classes_are_prototypes_alone.anchors = 3;
  this->expect_as_defined(most_classes_are_prototypes_alone);
}

TYPED_TEST(PaCoLossTest, ALabelWithoutAPrototypeIsReported) {
  auto problem = this->draw({.rows = 20, .anchors = 15, .centers = false, .balanced = true});
  problem.labels[3] = 5;
  EXPECT_NE(run(problem).violated_check.find(" labels"), std::string::npos);
}

TYPED_TEST(PaCoLossTest, LowTemperature) {
  this->expect_as_defined({.classes = 3, .temperature = 0.05f, .base_temperature = 0.07f});
}

// float16 has no such range.
TYPED_TEST(PaCoLossTest, AnchorWeightsOfAnySize) {
  for (const float size : {1e-7f, 1e7f}) {
    auto problem = this->draw({.rows = 20, .anchors = 10, .queue = 40, .weighted = true});
    for (float& weight : problem.anchor_weight) weight *= size;
    problem.upstream = 1 / size;
    const HostRun actual = run(problem);
    const auto expected = define(problem);
    expect_close("grad_features", actual.results.grad_features, expected.grad_features,
                 kGradientTolerance<TypeParam>, 0);
  }
}

// Many pairs of weights that are small beside the largest, and have no small sum in features of
// their own.
TYPED_TEST(PaCoLossTest, SmallWeightsBesideALargeOne) {
  auto problem = this->draw(
      {.rows = 2, .anchors = 1, .dim = 8, .classes = 2, .queue = 300, .temperature = 0.05f});
  const auto set_row = [](auto& rows, size_t row, float first, float second) {
    for (size_t d = 0; d < 8; ++d) HostContext::assign(rows[8 * row + d], 0);
    HostContext::assign(rows[8 * row], first);
    HostContext::assign(rows[8 * row + 1], second);
  };
  for (size_t row : {0u, 1u}) {
    set_row(problem.features, row, 1, 0);
    problem.labels[row] = 0;
  }
  for (size_t row = 0; row < 300; ++row) {
    set_row(problem.queue, row, 0.0625f, 1);
    problem.queue_labels[row] = 1;
  }
  const HostRun actual = run(problem);
  const auto expected = define(problem);
  const double derivative = expected.anchor_grad[1];
  EXPECT_GT(derivative, 0);
  EXPECT_NEAR(actual.results.anchor_grad[1], derivative, 0.01 * derivative);
}

TYPED_TEST(PaCoLossTest, TheLossAloneIsTheSame) {
  const auto problem = this->draw({});
  const HostRun with_grad = run_forward<TypeParam, 64>(problem);
  const HostRun alone = run_forward<TypeParam, 64>(problem, /*features_grad=*/false);
  EXPECT_EQ(alone.results.loss, with_grad.results.loss);
  EXPECT_EQ(alone.results.log_partition, with_grad.results.log_partition);
}

TYPED_TEST(PaCoLossTest, SameInputsGiveTheSameBits) {
  const auto problem = this->draw({.weighted = true});
  const HostRun once = run(problem);
  const HostRun again = run(problem);
  EXPECT_EQ(once.results.loss, again.results.loss);
  EXPECT_EQ(once.results.grad_features, again.results.grad_features);
  EXPECT_EQ(once.results.grad_center_logits, again.results.grad_center_logits);
}

TYPED_TEST(PaCoLossTest, WhatIsNotFiniteIsNotHidden) {
  for (const float bad : {kNaN, kInfinity, -kInfinity}) {
    for (const float gamma : {0.0f, 1.0f}) {
      const auto fresh =
          this->draw({.rows = 5, .anchors = 3, .queue = 9, .gamma = gamma, .weighted = true});
      auto problem = fresh;
      HostContext::assign(problem.features[static_cast<size_t>(problem.settings.dim * 4)], bad);
      EXPECT_TRUE(std::isnan((run_forward<TypeParam, 64>(problem).results.loss))) << bad;
      problem = fresh;
      HostContext::assign(problem.queue.back(), bad);
      EXPECT_TRUE(std::isnan((run_forward<TypeParam, 64>(problem).results.loss))) << bad;
      problem = fresh;
      problem.center_logits[7] = bad;
      EXPECT_TRUE(std::isnan((run_forward<TypeParam, 64>(problem).results.loss))) << bad;
      problem = fresh;
      problem.anchor_weight[1] = bad < 0 ? kNaN : bad;
      EXPECT_TRUE(std::isnan((run_forward<TypeParam, 64>(problem).results.loss))) << bad;
    }
  }
}

TYPED_TEST(PaCoLossTest, BadValuesAreReported) {
  const auto fresh =
      this->draw({.rows = 70, .anchors = 3, .queue = 9, .valid = 9, .weighted = true});
  const auto violation = [](const RandomProblem<TypeParam>& problem) {
    return run_forward<TypeParam, 64>(problem).violated_check;
  };
  EXPECT_EQ(violation(fresh), "");
  for (const int64_t label : {-1, 5}) {
    auto problem = fresh;
    problem.labels.back() = label;  // not an anchor's
    EXPECT_NE(violation(problem).find(" labels"), std::string::npos);
    problem = fresh;
    problem.queue_labels.back() = label;
    EXPECT_NE(violation(problem).find(" queue_labels"), std::string::npos);
  }
  for (const int64_t size : {-1, 10}) {
    auto problem = fresh;
    problem.num_valid = size;
    EXPECT_NE(violation(problem).find("num_valid"), std::string::npos);
  }
  auto problem = fresh;
  problem.anchor_weight.back() = -1;
  EXPECT_NE(violation(problem).find("anchor_weight"), std::string::npos);
}

TYPED_TEST(PaCoLossTest, ProcessesWithSharesOfRowsAndQueue) {
  this->expect_processes_to_make_it({}, 2);
  this->expect_processes_to_make_it({.rows = 131, .anchors = 131, .dim = 24, .shares = 3}, 3);
  this->expect_processes_to_make_it({.queue = 150, .valid = 67, .weighted = true}, 1);
  this->expect_processes_to_make_it({.dim = 128, .smoothing = 0.2f}, 2);
  this->expect_processes_to_make_it({.rows = 67, .anchors = 5, .dim = 33, .soft = true}, 2);
}

TYPED_TEST(PaCoLossTest, ProcessesOfWhichSomeHaveNothing) {
  this->expect_processes_to_make_it({.rows = 3, .anchors = 2, .queue = 2, .shares = 1}, 4);
  this->expect_processes_to_make_it({.rows = 1, .anchors = 1, .queue = 0, .shares = 1}, 3);
}

TYPED_TEST(PaCoLossTest, ProcessesWithSharesOfTheClasses) {
  this->expect_processes_to_make_it({.classes = 7, .smoothing = 0.2f}, 3, true);
  this->expect_processes_to_make_it({.classes = 7, .weighted = true, .soft = true}, 2, true);
  this->expect_processes_to_make_it({.classes = 2500, .queue = 20}, 2, true);
}

TYPED_TEST(PaCoLossTest, ProcessesAndSettingsOfZero) {
  this->expect_processes_to_make_it({.classes = 40, .centers = false, .alpha = 1}, 2);
  this->expect_processes_to_make_it({.alpha = 0}, 2);
  this->expect_processes_to_make_it({.beta = 0}, 2);
  this->expect_processes_to_make_it({.gamma = 0}, 2);
}

TYPED_TEST(PaCoLossTest, ProcessesShareOutBalancedPairs) {
  this->expect_processes_to_make_it({.rows = 70,
                                     .anchors = 65,
                                     .centers = false,
                                     .valid = 67,
                                     .alpha = 1,
                                     .base_temperature = 0.2f,
                                     .balanced = true},
                                    3);
}

// The gradient of a loss that is taken off another is negative.
TYPED_TEST(PaCoLossTest, ProcessesTakeAGradientOfEitherSign) {
  auto problem = this->draw({.weighted = true});
  const HostRun with = run_on_processes(problem, 2, false);
  problem.upstream = -problem.upstream;
  const HostRun against = run_on_processes(problem, 2, false);
  for (size_t i = 0; i < with.results.grad_features.size(); ++i) {
    EXPECT_EQ(with.results.grad_features[i], -against.results.grad_features[i]);
  }
}

TYPED_TEST(PaCoLossTest, TheLossAloneOfProcessesIsTheSame) {
  const auto problem = this->draw({.weighted = true});
  for (const bool class_share : {false, true}) {
    const HostRun with_grad = run_on_processes(problem, 3, class_share);
    const HostRun alone = run_on_processes(problem, 3, class_share, /*features_grad=*/false);
    EXPECT_EQ(alone.results.loss, with_grad.results.loss);
    EXPECT_EQ(alone.results.log_partition, with_grad.results.log_partition);
  }
}

TYPED_TEST(PaCoLossTest, ProcessesDoNotHideWhatIsNotFinite) {
  const auto fresh = this->draw({.rows = 5, .anchors = 3, .queue = 9});
  for (const float gamma : {0.0f, 1.0f}) {
    auto problem = fresh;
    problem.settings.gamma = gamma;
    HostContext::assign(problem.features[static_cast<size_t>(problem.settings.dim * 4)], kNaN);
    EXPECT_TRUE(std::isnan(run_on_processes(problem, 2, false).results.loss));
    problem = fresh;
    HostContext::assign(problem.queue.back(), kInfinity);
    EXPECT_TRUE(std::isnan(run_on_processes(problem, 2, false).results.loss));
    problem = fresh;
    problem.center_logits[7] = kNaN;
    EXPECT_TRUE(std::isnan(run_on_processes(problem, 2, true).results.loss));
  }
}

TYPED_TEST(PaCoLossTest, ABadLabelOfOneProcessIsReported) {
  auto problem = this->draw({});
  problem.labels.back() = 5;
  EXPECT_NE(run_on_processes(problem, 2, false).violated_check.find(" labels"), std::string::npos);
  problem = this->draw({.weighted = true});
  problem.anchor_weight.back() = -1;
  EXPECT_NE(run_on_processes(problem, 2, false).violated_check.find("anchor_weight"),
            std::string::npos);
}

// The derivatives in define() are written out by hand: they must be those of its loss.
TEST(PaCoLossDefinitionTest, DerivativesAreThoseOfTheLoss) {
  std::mt19937_64 random{std::random_device{}()};
  RandomProblem<FloatProduct> problem({.rows = 6,
                                       .anchors = 3,
                                       .dim = 4,
                                       .classes = 3,
                                       .queue = 5,
                                       .smoothing = 0.1f,
                                       .weighted = true},
                                      random);
  const auto derivatives = define(problem);
  const auto slope = [&](float& at) {
    const float value = at;
    const float step = 1.0f / 256;
    at = value + step;
    const double above = define(problem).loss;
    const double high = at;
    at = value - step;
    const double below = define(problem).loss;
    const double width = high - at;
    at = value;
    return problem.upstream * (above - below) / width;
  };
  for (size_t i = 0; i < problem.features.size(); ++i) {
    EXPECT_NEAR(slope(problem.features[i]), derivatives.grad_features[i], 1e-3);
  }
  for (size_t i = 0; i < problem.center_logits.size(); ++i) {
    EXPECT_NEAR(slope(problem.center_logits[i]), derivatives.grad_center_logits[i], 1e-3);
  }
}

}  // namespace
}  // namespace paco::cuda
