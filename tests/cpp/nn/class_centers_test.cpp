#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <paco/nn/class_centers.h>
#include <paco/nn/log_prior.h>
#include <torch/torch.h>

#include <limits>

namespace paco::nn {
namespace {

TEST(ClassCenters, TrainWithThePriorAndPredictWithout) {
  ClassCenters centers(5, 3, ClassCentersOptions{.center_temperature = 0.5, .tau = 2});
  const torch::Tensor counts = torch::tensor({90, 9, 1});
  centers->set_class_counts(counts);
  const torch::Tensor x = torch::randn({4, 5});
  const torch::Tensor plain = x.matmul(centers->weight.t()) + centers->bias;
  const torch::Tensor prior = log_prior(counts);
  EXPECT_TRUE(torch::allclose(centers(x), plain / 0.5 + 2 * prior, 1e-5, 1e-6));
  EXPECT_TRUE(torch::allclose(centers->predict(x), plain / 0.5, 1e-5, 1e-6));
}

TEST(ClassCenters, PredictForATargetPrior) {
  ClassCenters centers(5, 3, ClassCentersOptions{.tau = 2});
  centers->set_class_counts(torch::tensor({90, 9, 1}));
  const torch::Tensor x = torch::randn({4, 5});
  const torch::Tensor q = torch::tensor({1.0, 0.0, 3.0});
  const torch::Tensor expected = centers->predict(x) + torch::tensor({0.25F, 0.0F, 0.75F}).log();
  EXPECT_TRUE(torch::allclose(centers->predict(x, q), expected, 1e-5, 1e-6));
  EXPECT_THROW(centers->predict(x, torch::ones({4})), c10::ValueError);
}

TEST(ClassCenters, EqualCountsAreNoPrior) {
  ClassCenters centers(5, 3);
  centers->set_class_counts(torch::tensor({90, 9, 1}));
  centers->set_class_counts(torch::tensor({7, 7, 7}));
  EXPECT_TRUE(centers->log_prior.eq(0).all().item<bool>());
  EXPECT_THROW(centers->set_class_counts(torch::tensor({7, 7})), c10::ValueError);
}

TEST(ClassCenters, CosineComparesDirections) {
  ClassCenters centers(5, 3, ClassCentersOptions{.scale = 20});
  EXPECT_FALSE(centers->bias.defined());
  const torch::Tensor x = torch::randn({4, 5});
  EXPECT_TRUE(torch::allclose(centers(x), centers(3 * x), 1e-4, 1e-6));
  EXPECT_LE(centers(x).abs().max().item<float>(), 20 + 1e-4);
  EXPECT_TRUE(torch::allclose(centers->predict(x), centers(x)));
}

TEST(ClassCenters, NeedAPositiveTemperature) {
  for (const double bad : {0.0, -0.5, std::numeric_limits<double>::infinity(),
                           std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_THROW(ClassCenters(5, 3, ClassCentersOptions{.center_temperature = bad}),
                 c10::ValueError);
    EXPECT_THROW(ClassCenters(5, 3, ClassCentersOptions{.scale = bad}), c10::ValueError);
  }
}

TEST(ClassCenters, ScaleLeavesNoPlaceForBiasAndTemperature) {
  EXPECT_THROW(ClassCenters(5, 3, ClassCentersOptions{.bias = true, .scale = 20}), c10::ValueError);
  EXPECT_THROW(ClassCenters(5, 3, ClassCentersOptions{.center_temperature = 2, .scale = 20}),
               c10::ValueError);
  EXPECT_THROW(ClassCenters(5, 3, ClassCentersOptions{.tau = -1}), c10::ValueError);
}

TEST(ClassCenters, PriorStaysFloat32) {
  ClassCenters centers(5, 3);
  centers->set_class_counts(torch::tensor({90, 9, 1}));
  const torch::Tensor exact = centers->log_prior.clone();
  torch::nn::Sequential parent(centers);
  parent->to(torch::kBFloat16);
  EXPECT_EQ(centers->weight.scalar_type(), torch::kBFloat16);
  EXPECT_TRUE(centers->log_prior.equal(exact));
  parent->to(torch::kCPU, torch::kFloat64);
  EXPECT_EQ(centers->weight.scalar_type(), torch::kFloat64);
  EXPECT_TRUE(centers->named_buffers()["log_prior"].equal(exact));
}

}  // namespace
}  // namespace paco::nn
