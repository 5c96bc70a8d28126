#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <paco/nn/momentum_update.h>
#include <torch/torch.h>

namespace paco::nn {
namespace {

TEST(MomentumUpdate, MovesTheKeyTowardsTheQuery) {
  torch::nn::Linear key(3, 2);
  torch::nn::Linear query(3, 2);
  const torch::Tensor expected = 0.9 * key->weight.detach() + 0.1 * query->weight.detach();
  momentum_update_(key->parameters(), query->parameters(), 0.9);
  EXPECT_TRUE(torch::allclose(key->weight, expected, 1e-5, 1e-7));
  EXPECT_TRUE(key->weight.requires_grad());
  EXPECT_TRUE(key->weight.is_leaf());
}

TEST(MomentumUpdate, RefusesAMomentumThatIsNone) {
  EXPECT_THROW(momentum_update_({}, {}, 1.1), c10::ValueError);
}

TEST(MomentumUpdate, RefusesOtherParametersBeforeItWrites) {
  const torch::Tensor first = torch::zeros({2});
  const std::vector<torch::Tensor> keys{first, torch::zeros({3})};
  EXPECT_THROW(momentum_update_(keys, {torch::ones({2})}, 0.5), c10::ValueError);
  EXPECT_THROW(momentum_update_(keys, {torch::ones({2}), torch::ones({1})}, 0.5), c10::ValueError);
  EXPECT_TRUE(first.eq(0).all().item<bool>());
}

TEST(MomentumUpdate, OfNoParametersDoesNothing) { momentum_update_({}, {}, 0.5); }

}  // namespace
}  // namespace paco::nn
