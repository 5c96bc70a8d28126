#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <paco/nn/feature_queue.h>
#include <torch/torch.h>

namespace paco::nn {
namespace {

TEST(FeatureQueue, StartsEmptyAndFills) {
  FeatureQueue queue(3, 2);
  EXPECT_EQ(queue->num_valid().item<int64_t>(), 0);
  EXPECT_TRUE(queue->labels.eq(-1).all().item<bool>());
  queue->enqueue(torch::ones({2, 2}), torch::tensor({4, 5}));
  EXPECT_EQ(queue->num_valid().item<int64_t>(), 2);
  EXPECT_TRUE(queue->labels.equal(torch::tensor({4, 5, -1})));
  EXPECT_TRUE(queue->features.equal(torch::tensor({{1.F, 1.F}, {1.F, 1.F}, {0.F, 0.F}})));
}

TEST(FeatureQueue, IsSavedWhole) {
  FeatureQueue queue(3, 2);
  queue->enqueue(torch::randn({4, 2}), torch::tensor({0, 1, 2, 3}));
  std::stringstream file;
  torch::save(queue, file);
  FeatureQueue loaded(3, 2);
  torch::load(loaded, file);
  EXPECT_TRUE(loaded->features.equal(queue->features));
  EXPECT_TRUE(loaded->labels.equal(queue->labels));
  EXPECT_TRUE(loaded->state.equal(queue->state));
}

TEST(FeatureQueue, KeepsItsLabelsWhereItsDtypeChanges) {
  FeatureQueue queue(3, 2);
  torch::nn::Sequential parent(torch::nn::Linear(2, 2));
  parent->register_module("queue", queue.ptr());
  queue->enqueue(torch::ones({2, 2}), torch::tensor({4000, 5}));
  parent->to(torch::kBFloat16);
  parent->to(torch::kCPU, torch::kFloat64);
  EXPECT_EQ(queue->features.scalar_type(), torch::kFloat64);
  queue->enqueue(torch::ones({1, 2}, torch::kFloat64), torch::tensor({6}));
  EXPECT_TRUE(queue->named_buffers()["labels"].equal(torch::tensor({4000, 5, 6})));
  EXPECT_EQ(queue->num_valid().item<int64_t>(), 3);
}

TEST(FeatureQueue, KeepsTheClassesOfKeysThatHaveAnyNumber) {
  FeatureQueue queue(3, 2, torch::kFloat32, /*num_classes=*/2);
  const auto labels = torch::tensor({1, 1, 0, 1}).view({2, 2}).to(torch::kBool);
  queue->enqueue(torch::ones({2, 2}), labels);
  EXPECT_TRUE(queue->labels.narrow(0, 0, 2).equal(labels));
  EXPECT_FALSE(queue->labels[2].any().item<bool>());
  EXPECT_THROW(queue->enqueue(torch::ones({2, 2}), torch::tensor({4, 5})), c10::ValueError);
}

TEST(FeatureQueue, HasAtLeastOneRow) {
  EXPECT_THROW(FeatureQueue(0, 2), c10::ValueError);
  EXPECT_THROW(FeatureQueue(2, 0), c10::ValueError);
  EXPECT_THROW(FeatureQueue(2, 2, torch::kFloat32, 0), c10::ValueError);
}

}  // namespace
}  // namespace paco::nn
