#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <paco/nn/log_prior.h>
#include <torch/torch.h>

namespace paco {
namespace {

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

TEST(LogTargetPrior, IsTheLogarithmOfTheShares) {
  const torch::Tensor prior = log_target_prior(torch::tensor({6, 3, 1, 0}), 4);
  const torch::Tensor expected = torch::log(torch::tensor({0.6, 0.3, 0.1, 0.0}, torch::kFloat64));
  EXPECT_TRUE(prior.equal(expected));
}

TEST(LogTargetPrior, RefusesWhatIsNoPrior) {
  EXPECT_THROW(log_target_prior(torch::ones({3}), 4), c10::ValueError);
  EXPECT_THROW(log_target_prior(torch::ones({1, 3}), 3), c10::ValueError);
  EXPECT_THROW(log_target_prior(torch::zeros({3}), 3), c10::ValueError);
  EXPECT_THROW(log_target_prior(torch::tensor({1, -1}), 2), c10::ValueError);
  EXPECT_THROW(log_target_prior(torch::tensor({1.0, 1.0 / 0.0}), 2), c10::ValueError);
}

}  // namespace
}  // namespace paco
