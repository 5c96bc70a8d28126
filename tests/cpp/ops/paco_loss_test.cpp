#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <paco/ops/paco_loss.h>
#include <torch/torch.h>

#include <algorithm>
#include <exception>
#include <limits>
#include <string>

#include "../support/oracle.h"
#include "../support/random.h"

namespace paco::testing {
namespace {

constexpr double kUpstream = 3;  // gradient of the loss

/// Value and gradients of one way to compute the loss.
struct Result {
  torch::Tensor loss;
  torch::Tensor grad_features;
  torch::Tensor grad_center_logits;  // undefined without centers
};

template <class Loss>
Result evaluate(const LossProblem& problem, Loss loss_of) {
  LossProblem p = problem;
  p.features = problem.features.detach().clone().requires_grad_();
  if (problem.center_logits) {
    p.center_logits = problem.center_logits->detach().clone().requires_grad_();
  }
  Result result;
  result.loss = loss_of(p);
  (kUpstream * result.loss).backward();
  result.grad_features = p.features.grad();
  if (p.center_logits) {
    result.grad_center_logits = p.center_logits->grad();
  }
  return result;
}

/// Largest difference, relative to the largest entry expected, or to `size` if that is larger: the
/// size of the terms, whose sum may be zero.
double relative_error(const torch::Tensor& value, const torch::Tensor& expected, double size) {
  const double difference = (value - expected).abs().max().item<double>();
  return difference / std::max(expected.abs().max().item<double>(), size);
}

void expect_reference(torch::Dtype dtype, double tolerance) {
  for (int i = 0; i < 60; ++i) {
    const uint64_t seed = Random::fresh_seed();
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(seed);
    const LossProblem problem = random_loss_problem(random, dtype);
    const Result fast = evaluate(problem, paco_loss_of);
    const Result expected = evaluate(problem, paco_loss_reference);
    ASSERT_EQ(fast.loss.scalar_type(), dtype);
    ASSERT_EQ(fast.loss.dim(), 0);
    const double temperature = problem.options.temperature;
    const double base_temperature = problem.options.base_temperature.value_or(temperature);
    EXPECT_LE(relative_error(fast.loss, expected.loss, temperature / base_temperature), tolerance);
    // The gradient of one anchor's term.
    const double size =
        kUpstream /
        static_cast<double>(problem.center_logits
                                ? problem.center_logits->size(0)
                                : problem.num_anchors.value_or(problem.features.size(0))) /
        base_temperature;
    EXPECT_LE(relative_error(fast.grad_features, expected.grad_features, size), tolerance);
    if (problem.center_logits) {
      EXPECT_LE(
          relative_error(fast.grad_center_logits, expected.grad_center_logits, size * temperature),
          tolerance);
    }
  }
}

TEST(PaCoLoss, IsTheReferenceInFloat64) { expect_reference(torch::kFloat64, 1e-10); }

TEST(PaCoLoss, IsTheReferenceInFloat32) { expect_reference(torch::kFloat32, 1e-5); }

/// A small problem with everything in it.
LossProblem sound_problem() {
  LossProblem p;
  p.num_anchors = 3;
  p.features = unit_rows(6, 4, torch::kFloat32);
  p.labels = torch::tensor({0, 1, 2, 0, 1, 2});
  p.center_logits = torch::randn({3, 3});
  p.queue = unit_rows(5, 4, torch::kFloat32);
  p.queue_labels = torch::tensor({0, 1, 2, 0, 1});
  p.num_valid = torch::tensor(5);
  p.options.alpha = 0.05;
  p.options.temperature = 0.2;
  return p;
}

TEST(PaCoLoss, LeavesOutTheGradientToKeys) {
  const LossProblem p = sound_problem();
  const auto detached = [](const LossProblem& q) {
    return paco_loss(q.features, q.labels, q.center_logits, q.queue, q.queue_labels, q.num_valid,
                     q.anchor_weight, q.num_anchors, q.options, q.soft_targets,
                     /*detach_keys=*/true);
  };
  const Result whole = evaluate(p, paco_loss_of);
  const Result actual = evaluate(p, detached);
  EXPECT_TRUE(actual.loss.equal(whole.loss));
  EXPECT_TRUE(torch::allclose(actual.grad_features.slice(0, 0, 3),
                              whole.grad_features.slice(0, 0, 3), 1e-5, 1e-6));
  EXPECT_FALSE(actual.grad_features.slice(0, 3).any().item<bool>());
}

TEST(PaCoLoss, TakesStridedTensors) {
  LossProblem p = sound_problem();
  const torch::Tensor expected = paco_loss_of(p);
  const auto strided = [](const torch::Tensor& t) {
    const torch::Tensor column_major = t.t().contiguous().t();
    return torch::stack({column_major, column_major}, -1).select(-1, 1);
  };
  p.features = strided(p.features);
  p.queue = strided(*p.queue);
  p.center_logits = strided(*p.center_logits);
  EXPECT_NEAR(paco_loss_of(p).item<float>(), expected.item<float>(), 1e-5);
}

TEST(PaCoLoss, IsFiniteAtALowTemperature) {
  LossProblem p = sound_problem();
  p.options.temperature = 0.01;
  EXPECT_TRUE(paco_loss_of(p).isfinite().item<bool>());
}

TEST(PaCoLoss, RepeatsBitForBit) {
  const uint64_t seed = Random::fresh_seed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  const LossProblem p = random_loss_problem(random, torch::kFloat32);
  const Result first = evaluate(p, paco_loss_of);
  const Result second = evaluate(p, paco_loss_of);
  EXPECT_TRUE(first.loss.equal(second.loss));
  EXPECT_TRUE(first.grad_features.equal(second.grad_features));
}

TEST(PaCoLoss, OfNanIsNan) {
  LossProblem p = sound_problem();
  p.features[5][0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(paco_loss_of(p).isnan().item<bool>());
}

TEST(PaCoLoss, HasNoSecondDerivative) {
  const torch::Tensor features = unit_rows(4, 3, torch::kFloat64).requires_grad_();
  const torch::Tensor labels = torch::tensor({0, 1, 0, 1});
  PaCoLossOptions options{.alpha = 1, .temperature = 0.5};
  const torch::Tensor loss = paco_loss(features, labels, {}, {}, {}, {}, {}, 4, options);
  const torch::Tensor gradient = torch::autograd::grad({loss}, {features}, {}, true, true)[0];
  EXPECT_THROW(gradient.sum().backward(), std::exception);  // std::runtime_error in PyTorch 2.8
}

/// Breaks `sound_problem` with `spoil`; the error must name `argument`.
template <class Spoil>
void expect_error(const std::string& argument, Spoil spoil) {
  LossProblem p = sound_problem();
  spoil(p);
  try {
    paco_loss_of(p);
    ADD_FAILURE() << "no error for " << argument;
  } catch (const c10::ValueError& error) {
    const std::string message = error.what_without_backtrace();
    EXPECT_EQ(message.find("paco_loss: "), 0U) << message;
    EXPECT_NE(message.find(argument), std::string::npos) << message;
  }
}

TEST(PaCoLoss, NamesTheBadArgument) {
  paco_loss_of(sound_problem());
  expect_error("temperature", [](LossProblem& p) { p.options.temperature = 0; });
  expect_error("alpha", [](LossProblem& p) { p.options.alpha = -1; });
  expect_error("beta", [](LossProblem& p) { p.options.beta = -1; });
  expect_error("gamma", [](LossProblem& p) { p.options.gamma = -1; });
  expect_error("label_smoothing", [](LossProblem& p) { p.options.label_smoothing = 1; });
  expect_error("num_anchors", [](LossProblem& p) { p.num_anchors = 7; });
  expect_error("labels", [](LossProblem& p) { p.labels[1] = 3; });
  expect_error("labels", [](LossProblem& p) { p.labels = p.labels.to(torch::kInt32); });
  expect_error("center_logits", [](LossProblem& p) { p.center_logits = torch::randn({2, 3}); });
  expect_error("queue", [](LossProblem& p) { p.queue = unit_rows(5, 3, torch::kFloat32); });
  expect_error("queue_labels", [](LossProblem& p) { p.queue_labels = std::nullopt; });
  expect_error("num_valid", [](LossProblem& p) { p.num_valid = torch::tensor(6); });
  expect_error("anchor_weight", [](LossProblem& p) { p.anchor_weight = torch::ones({4}); });
  expect_error("soft_targets", [](LossProblem& p) { p.soft_targets = torch::ones({2, 3}); });
  expect_error("soft_targets",
               [](LossProblem& p) { p.soft_targets = torch::ones_like(*p.center_logits); });
}

}  // namespace
}  // namespace paco::testing
