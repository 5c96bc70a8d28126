#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <paco/ops/class_mean_update.h>
#include <paco/ops/vmf_logits.h>
#include <torch/torch.h>

#include <string>

#include "../support/oracle.h"
#include "../support/random.h"

namespace paco::testing {
namespace {

TEST(VmfLogits, AreTheReference) {
  for (int i = 0; i < 20; ++i) {
    const uint64_t seed = Random::fresh_seed();
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(seed);
    const int64_t dim = random.integer(2, 60);
    const int64_t classes = random.integer(1, 20);
    const auto unit_rows = [&](int64_t rows) {
      return torch::nn::functional::normalize(torch::randn({rows, dim}, torch::kFloat64));
    };
    const torch::Tensor features = unit_rows(random.integer(1, 20)).requires_grad_();
    const torch::Tensor mean_direction = unit_rows(classes);
    if (random.chance(0.5)) mean_direction[0].zero_();
    const torch::Tensor concentration = torch::rand({classes}, torch::kFloat64) * 500;
    const double temperature = random.real(0.05, 2);

    const torch::Tensor fast = vmf_logits(features, mean_direction, concentration, temperature);
    const torch::Tensor expected =
        reference("vmf_logits", {features, mean_direction, concentration, temperature}).toTensor();
    EXPECT_TRUE(torch::allclose(fast, expected, 1e-9, 1e-9));

    const torch::Tensor upstream = torch::randn_like(expected);
    const auto fast_gradient = torch::autograd::grad({fast}, {features}, {upstream})[0];
    const auto expected_gradient = torch::autograd::grad({expected}, {features}, {upstream})[0];
    EXPECT_TRUE(torch::allclose(fast_gradient, expected_gradient, 1e-7, 1e-9));
  }
}

TEST(VmfLogits, NameTheBadArgument) {
  try {
    vmf_logits(torch::randn({4, 5}), torch::zeros({3, 5}), torch::full({3}, -1.F), 0.1);
    ADD_FAILURE() << "no error";
  } catch (const c10::ValueError& error) {
    const std::string message = error.what_without_backtrace();
    EXPECT_EQ(message, "vmf_logits: concentration must be finite and >= 0, got -1 at 0");
  }
}

TEST(ClassMeanUpdate, IsTheReference) {
  const uint64_t seed = Random::fresh_seed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  const int64_t classes = random.integer(1, 10);
  const int64_t dim = random.integer(1, 40);
  const torch::Tensor mean = torch::randn({classes, dim}, torch::kFloat64);
  const torch::Tensor count = torch::zeros({classes}, torch::kInt64);
  const torch::Tensor expected_mean = mean.clone();
  const torch::Tensor expected_count = count.clone();
  for (int step = 0; step < 5; ++step) {
    const int64_t batch = random.integer(0, 30);
    const torch::Tensor features = torch::randn({batch, dim}, torch::kFloat64);
    const torch::Tensor labels = torch::randint(classes, {batch}, torch::kInt64);
    class_mean_update_(mean, count, features, labels);
    reference("class_mean_update_", {expected_mean, expected_count, features, labels});
    EXPECT_TRUE(count.equal(expected_count));
    EXPECT_TRUE(torch::allclose(mean, expected_mean, 1e-12, 1e-12));
  }
}

TEST(ClassMeanUpdate, NamesTheBadArgument) {
  try {
    class_mean_update_(torch::zeros({2, 3}), torch::zeros({2}, torch::kInt64), torch::randn({1, 3}),
                       torch::tensor({2}));
    ADD_FAILURE() << "no error";
  } catch (const c10::ValueError& error) {
    const std::string message = error.what_without_backtrace();
    EXPECT_EQ(message, "class_mean_update_: labels must lie in [0, C), got 2 at 0 with C = 2");
  }
}

}  // namespace
}  // namespace paco::testing
