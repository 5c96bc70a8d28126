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

TEST(FeatureQueue, HasAtLeastOneRow) {
  EXPECT_THROW(FeatureQueue(0, 2), c10::ValueError);
  EXPECT_THROW(FeatureQueue(2, 0), c10::ValueError);
}

}  // namespace
}  // namespace paco::nn
