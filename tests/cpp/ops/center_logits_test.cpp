#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <paco/ops/center_logits.h>
#include <torch/torch.h>

#include <string>

#include "../support/definition.h"
#include "../support/random.h"

namespace paco::testing {
namespace {

TEST(CenterLogits, AreTheirDefinition) {
  for (int i = 0; i < 40; ++i) {
    const uint64_t seed = Random::fresh_seed();
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(seed);
    const int64_t classes = random.integer(1, 20);
    const int64_t width = random.integer(1, 30);
    const torch::Tensor x =
        torch::randn({random.integer(1, 20), width}, torch::kFloat64).requires_grad_();
    const torch::Tensor weight = torch::randn({classes, width}, torch::kFloat64).requires_grad_();
    std::optional<torch::Tensor> bias;
    std::optional<torch::Tensor> prior;
    std::vector<torch::Tensor> inputs = {x, weight};
    if (random.chance(0.5)) {
      bias = torch::randn({classes}, torch::kFloat64).requires_grad_();
      inputs.push_back(*bias);
    }
    if (random.chance(0.5)) {
      prior = log_prior(torch::randint(1, 500, {classes}));
    }
    const double supt = random.real(0.1, 2);
    const bool cosine = random.chance(0.5);

    const torch::Tensor fast = center_logits(x, weight, bias, prior, supt, cosine);
    const torch::Tensor expected = center_logits_definition(x, weight, bias, prior, supt, cosine);
    EXPECT_TRUE(torch::allclose(fast, expected, 1e-10, 1e-12));

    const torch::Tensor upstream = torch::randn_like(expected);
    const auto fast_gradients = torch::autograd::grad({fast}, inputs, {upstream});
    const auto expected_gradients = torch::autograd::grad({expected}, inputs, {upstream});
    for (size_t k = 0; k < inputs.size(); ++k) {
      EXPECT_TRUE(torch::allclose(fast_gradients[k], expected_gradients[k], 1e-9, 1e-11));
    }
  }
}

TEST(CenterLogits, NameTheBadArgument) {
  try {
    center_logits(torch::randn({4, 5}), torch::randn({3, 6}));
    ADD_FAILURE() << "no error";
  } catch (const c10::ValueError& error) {
    const std::string message = error.what_without_backtrace();
    EXPECT_EQ(message.find("center_logits: "), 0U) << message;
    EXPECT_NE(message.find("weight"), std::string::npos) << message;
  }
}

TEST(LogPrior, IsTheLogarithmOfTheClassShares) {
  const torch::Tensor prior = log_prior(torch::tensor({6, 3, 1, 0}));
  const torch::Tensor expected =
      torch::log(torch::tensor({0.6, 0.3, 0.1, 0.0}, torch::kFloat64) + 1e-9);
  EXPECT_EQ(prior.scalar_type(), torch::kFloat32);
  EXPECT_TRUE(torch::allclose(prior.to(torch::kFloat64), expected, 1e-6));
}

TEST(LogPrior, RefusesCountsThatAreNone) {
  EXPECT_THROW(log_prior(torch::tensor({1, -1})), c10::ValueError);
  EXPECT_THROW(log_prior(torch::zeros({3})), c10::ValueError);
}

}  // namespace
}  // namespace paco::testing
