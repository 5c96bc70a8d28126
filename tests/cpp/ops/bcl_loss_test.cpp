#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <paco/ops/bcl_loss.h>
#include <torch/torch.h>

#include <optional>
#include <string>

#include "../support/oracle.h"
#include "../support/random.h"

namespace paco::testing {
namespace {

/// Everything that bcl_loss takes.
struct BCLProblem {
  torch::Tensor features;
  torch::Tensor labels;
  torch::Tensor prototypes;
  std::optional<torch::Tensor> queue = std::nullopt;
  std::optional<torch::Tensor> queue_labels = std::nullopt;
  std::optional<torch::Tensor> num_valid = std::nullopt;
  double temperature = 0.2;
};

torch::Tensor bcl_loss_of(const BCLProblem& p) {
  return bcl_loss(p.features, p.labels, p.prototypes, p.queue, p.queue_labels, p.num_valid,
                  p.temperature);
}

torch::Tensor bcl_loss_reference(const BCLProblem& p) {
  return reference("bcl_loss", {p.features, p.labels, p.prototypes, p.queue, p.queue_labels,
                                p.num_valid, p.temperature})
      .toTensor();
}

BCLProblem random_bcl_problem(Random& random) {
  const int64_t rows = random.integer(1, 70);
  const int64_t dim = random.integer(1, 40);
  const int64_t classes = random.integer(1, 12);
  BCLProblem p{unit_rows(rows, dim, torch::kFloat64), torch::randint(classes, {rows}, torch::kLong),
               unit_rows(classes, dim, torch::kFloat64)};
  p.temperature = random.real(0.07, 1);
  if (random.chance(0.7)) {
    const int64_t size = random.integer(1, 90);
    p.queue = unit_rows(size, dim, torch::kFloat64);
    p.queue_labels = torch::randint(classes, {size}, torch::kLong);
    if (random.chance(0.6)) p.num_valid = torch::tensor(random.integer(0, size));
  }
  return p;
}

TEST(BCLLoss, IsTheReference) {
  for (int i = 0; i < 40; ++i) {
    const uint64_t seed = Random::fresh_seed();
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(seed);
    const BCLProblem problem = random_bcl_problem(random);
    const auto evaluate = [&](const auto& loss_of) {
      BCLProblem p = problem;
      p.features = problem.features.detach().clone().requires_grad_();
      p.prototypes = problem.prototypes.detach().clone().requires_grad_();
      const torch::Tensor loss = loss_of(p);
      loss.backward();
      return torch::cat(
          {loss.detach().view(1), p.features.grad().flatten(), p.prototypes.grad().flatten()});
    };
    EXPECT_TRUE(torch::allclose(evaluate(bcl_loss_of), evaluate(bcl_loss_reference), 1e-9, 1e-10));
  }
}

TEST(BCLLoss, NamesTheBadArgument) {
  const BCLProblem sound{unit_rows(6, 4, torch::kFloat32), torch::tensor({0, 1, 2, 0, 1, 2}),
                         unit_rows(3, 4, torch::kFloat32)};
  bcl_loss_of(sound);
  const auto expect_error = [&](const std::string& argument, const auto& spoil) {
    BCLProblem p = sound;
    p.labels = sound.labels.clone();
    spoil(p);
    try {
      bcl_loss_of(p);
      ADD_FAILURE() << "no error for " << argument;
    } catch (const c10::ValueError& error) {
      const std::string message = error.what_without_backtrace();
      EXPECT_EQ(message.find("bcl_loss: " + argument), 0U) << message;
    }
  };
  expect_error("temperature", [](BCLProblem& p) { p.temperature = 0; });
  expect_error("labels must lie in [0, C), got 3 at 1", [](BCLProblem& p) { p.labels[1] = 3; });
  expect_error("prototypes",
               [](BCLProblem& p) { p.prototypes = unit_rows(3, 5, torch::kFloat32); });
  expect_error("queue", [](BCLProblem& p) { p.queue = unit_rows(5, 4, torch::kFloat32); });
}

}  // namespace
}  // namespace paco::testing
