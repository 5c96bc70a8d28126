#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <paco/ops/center_logits.h>
#include <torch/torch.h>

#include <string>

#include "../support/oracle.h"
#include "../support/random.h"

namespace paco::testing {
namespace {

TEST(CenterLogits, AreTheReference) {
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
    std::optional<double> scale;
    double center_temperature = 1;
    if (random.chance(0.3)) {
      scale = random.real(1, 30);
    } else if (random.chance(0.5)) {
      center_temperature = random.real(0.1, 2);
    }
    if (!scale && random.chance(0.5)) {
      bias = torch::randn({classes}, torch::kFloat64).requires_grad_();
      inputs.push_back(*bias);
    }
    if (random.chance(0.5)) {
      prior = torch::rand({classes}, torch::kFloat64).log();
    }
    const double tau = random.chance(0.5) ? 1 : random.real(0, 2);

    const torch::Tensor fast =
        center_logits(x, weight, bias, prior, center_temperature, tau, scale);
    const torch::Tensor expected =
        reference("center_logits", {x, weight, bias, prior, center_temperature, tau, scale})
            .toTensor();
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

}  // namespace
}  // namespace paco::testing
