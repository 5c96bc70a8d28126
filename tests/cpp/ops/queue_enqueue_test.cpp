#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <paco/ops/queue_enqueue.h>
#include <torch/torch.h>

#include <string>

#include "../support/random.h"

namespace paco::testing {
namespace {

TEST(QueueEnqueue, WritesRowAfterRowAround) {
  const uint64_t seed = Random::fresh_seed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  const int64_t size = random.integer(1, 20);
  const int64_t dim = random.integer(1, 8);
  const torch::Tensor queue = torch::zeros({size, dim});
  const torch::Tensor labels = torch::full({size}, -1, torch::kInt64);
  const torch::Tensor state = torch::zeros({2}, torch::kInt64);

  const torch::Tensor expected_queue = queue.clone();
  const torch::Tensor expected_labels = labels.clone();
  const torch::Tensor expected_state = state.clone();
  for (int step = 0; step < 30; ++step) {
    const int64_t batch = random.integer(0, 2 * size);
    const torch::Tensor keys = torch::randn({batch, dim});
    const torch::Tensor key_labels = torch::randint(10, {batch}, torch::kInt64);
    queue_enqueue_(queue, labels, state, keys, key_labels);
    reference("queue_enqueue_",
              {expected_queue, expected_labels, expected_state, keys, key_labels});
    ASSERT_TRUE(queue.equal(expected_queue));
    ASSERT_TRUE(labels.equal(expected_labels));
    ASSERT_TRUE(state.equal(expected_state));
  }
}

TEST(QueueEnqueue, KeepsNoGradientAndConverts) {
  const torch::Tensor queue = torch::zeros({3, 2});
  const torch::Tensor keys = torch::randn({2, 2}, torch::kFloat64).requires_grad_();
  queue_enqueue_(queue, torch::full({3}, -1, torch::kInt64), torch::zeros({2}, torch::kInt64), keys,
                 torch::tensor({0, 1}));
  EXPECT_FALSE(queue.requires_grad());
  EXPECT_TRUE(queue.slice(0, 0, 2).equal(keys.detach().to(torch::kFloat32)));
}

TEST(QueueEnqueue, WritesNothingOnError) {
  const torch::Tensor queue = torch::zeros({3, 2});
  const torch::Tensor labels = torch::full({3}, -1, torch::kInt64);
  const torch::Tensor state = torch::zeros({2}, torch::kInt64);
  EXPECT_THROW(queue_enqueue_(queue, labels, state, torch::ones({2, 5}), torch::tensor({0, 1})),
               c10::ValueError);
  EXPECT_THROW(queue_enqueue_(queue, labels, state, torch::ones({2, 2}), torch::tensor({0})),
               c10::ValueError);
  EXPECT_TRUE(queue.eq(0).all().item<bool>());
  EXPECT_TRUE(labels.eq(-1).all().item<bool>());
  EXPECT_TRUE(state.eq(0).all().item<bool>());
}

}  // namespace
}  // namespace paco::testing
