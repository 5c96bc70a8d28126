#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <paco/nn/momentum_encoder.h>
#include <torch/torch.h>

namespace paco::nn {
namespace {

TEST(MomentumEncoder, FollowsTheQueryWithoutAGradient) {
  torch::nn::Linear query(3, 2);
  MomentumEncoder<torch::nn::Linear> key(query, 0.9);
  EXPECT_TRUE(key->encoder->weight.equal(query->weight));
  EXPECT_FALSE(key->encoder->weight.is_alias_of(query->weight));
  const torch::Tensor before = key->encoder->weight.clone();
  {
    torch::NoGradGuard no_grad;
    query->weight.add_(1);
  }
  EXPECT_TRUE(key->encoder->weight.equal(before));
  key->update(query);
  EXPECT_TRUE(torch::allclose(key->encoder->weight, before + 0.1, 1e-5, 1e-6));
  EXPECT_FALSE(key->encoder->weight.requires_grad());
  EXPECT_TRUE(query->weight.requires_grad());
  const torch::Tensor x = torch::randn({5, 3}, torch::requires_grad());
  const torch::Tensor keys = key(x);
  EXPECT_FALSE(keys.requires_grad());
  EXPECT_TRUE(torch::allclose(keys, x.matmul(key->encoder->weight.t()) + key->encoder->bias));
}

TEST(MomentumEncoder, KeepsItsOwnStatistics) {
  torch::nn::BatchNorm1d query(3);
  MomentumEncoder<torch::nn::BatchNorm1d> key(query, 0.9);
  key(torch::randn({8, 3}) + 5);
  key->update(query);
  EXPECT_GT(key->encoder->running_mean.mean().item<float>(), 0.2);
  EXPECT_TRUE(query->running_mean.eq(0).all().item<bool>());
}

TEST(MomentumEncoder, RefusesAMomentumThatIsNone) {
  torch::nn::Linear query(3, 2);
  MomentumEncoder<torch::nn::Linear> key(query, 1.1);
  EXPECT_THROW(key->update(query), c10::ValueError);
}

}  // namespace
}  // namespace paco::nn
