#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <paco/nn/proco_loss.h>
#include <torch/torch.h>

#include <sstream>
#include <string>

namespace paco::nn {
namespace {

torch::Tensor unit_rows(int64_t rows, int64_t dim) {
  return torch::nn::functional::normalize(torch::randn({rows, dim}));
}

TEST(ProCoLoss, StartsEachEpochWithTheEstimateOfTheOneBefore) {
  ProCoLoss loss(4, 5, 0.1);
  EXPECT_TRUE(torch::allclose(loss->older_mean.norm(2, 1), torch::full({4}, 0.9)));
  const torch::Tensor labels = torch::tensor({0, 1, 2});
  const torch::Tensor features = unit_rows(6, 5);
  loss(features, labels);
  EXPECT_TRUE(loss->older_count.equal(torch::tensor({2, 2, 2, 0})));
  EXPECT_TRUE(torch::allclose(loss->younger_mean[1], (features[1] + features[4]) / 2));
  const torch::Tensor younger = loss->younger_mean.clone();
  loss->start_epoch();
  EXPECT_TRUE(loss->older_mean.equal(younger));
  EXPECT_TRUE(torch::allclose(loss->younger_mean.norm(2, 1), torch::full({4}, 0.9)));
  EXPECT_EQ(loss->younger_count.sum().item<int64_t>(), 0);
}

TEST(ProCoLoss, AddsNothingInEvaluation) {
  ProCoLoss loss(4, 5, 0.1);
  loss->eval();
  const torch::Tensor before = loss->older_mean.clone();
  EXPECT_TRUE(loss(unit_rows(2, 5), torch::tensor({0, 1})).isfinite().item<bool>());
  EXPECT_TRUE(loss->older_mean.equal(before));
  EXPECT_EQ(loss->older_count.sum().item<int64_t>(), 0);
}

TEST(ProCoLoss, IsSavedWholeAndKeepsItsStatisticsInHalfPrecision) {
  ProCoLoss loss(4, 5, 0.1);
  loss->set_class_counts(torch::tensor({9, 4, 2, 1}));
  loss(unit_rows(4, 5), torch::tensor({0, 1}));
  torch::nn::Sequential parent(torch::nn::Linear(2, 2));
  parent->register_module("loss", loss.ptr());
  const torch::Tensor mean = loss->older_mean.clone();
  const torch::Tensor prior = loss->log_prior.clone();
  parent->to(torch::kBFloat16);
  parent->to(torch::kCPU, torch::kHalf);
  EXPECT_TRUE(loss->older_mean.equal(mean));
  EXPECT_TRUE(loss->log_prior.equal(prior));
  EXPECT_EQ(loss->older_count.scalar_type(), torch::kInt64);
  std::stringstream file;
  torch::save(loss, file);
  ProCoLoss loaded(4, 5, 0.1);
  torch::load(loaded, file);
  for (const auto& item : loss->named_buffers()) {
    EXPECT_TRUE(item.value().equal(loaded->named_buffers()[item.key()])) << item.key();
  }
  parent->to(torch::kFloat64);
  EXPECT_EQ(loss->older_mean.scalar_type(), torch::kFloat64);
  EXPECT_EQ(loss->log_prior.scalar_type(), torch::kFloat32);
}

TEST(ProCoLoss, RefusesBadSettingsAndBatches) {
  EXPECT_THROW(ProCoLoss(0, 5, 0.1), c10::ValueError);
  EXPECT_THROW(ProCoLoss(4, 1, 0.1), c10::ValueError);
  EXPECT_THROW(ProCoLoss(4, 5, 0.0), c10::ValueError);
  ProCoLoss loss(4, 5, 0.1);
  EXPECT_THROW(loss(unit_rows(3, 5), torch::tensor({0, 1})), c10::ValueError);
  EXPECT_THROW(loss->set_class_counts(torch::ones({3})), c10::ValueError);
  EXPECT_EQ(loss->older_count.sum().item<int64_t>(), 0);
}

}  // namespace
}  // namespace paco::nn
