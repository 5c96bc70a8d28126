#include "kernels/cpu/queue_enqueue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/argument_error.h"
#include "random.h"

namespace paco::testing {
namespace {

TEST(QueueEnqueueKernel, WritesRowAfterRowAround) {
  const uint64_t seed = fresh_seed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  const int64_t rows = random.integer(1, 20);
  const int64_t dim = random.integer(1, 9);
  const bool column_major = random.chance(0.5);
  std::vector<float> queue(rows * dim);
  std::vector<int64_t> labels(rows, -1);
  std::vector<int64_t> state(2);
  std::vector<float> expected_queue = queue;
  std::vector<int64_t> expected_labels = labels;
  int64_t written = 0;
  for (int step = 0; step < 30; ++step) {
    const int64_t batch = random.integer(0, 2 * rows);
    std::vector<double> keys = random.normal(batch * dim);
    std::vector<int64_t> key_labels = random.labels(batch, 10);
    const int64_t row_stride = column_major ? 1 : dim;
    const int64_t column_stride = column_major ? batch : 1;
    cpu::queue_enqueue({.queue_type = ElementType::kFloat32,
                        .key_type = ElementType::kFloat64,
                        .queue = {queue.data(), dim, 1},
                        .queue_labels = {labels.data(), 1, 0},
                        .queue_state = {state.data(), 1, 0},
                        .keys = {keys.data(), row_stride, column_stride},
                        .labels = {key_labels.data(), 1, 0},
                        .queue_rows = rows,
                        .num_keys = batch,
                        .dim = dim},
                       test_threads<2>());
    for (int64_t key = 0; key < batch; ++key, ++written) {
      for (int64_t d = 0; d < dim; ++d) {
        expected_queue[written % rows * dim + d] =
            static_cast<float>(keys[key * row_stride + d * column_stride]);
      }
      expected_labels[written % rows] = key_labels[key];
    }
    ASSERT_EQ(queue, expected_queue);
    ASSERT_EQ(labels, expected_labels);
    ASSERT_EQ(state, (std::vector<int64_t>{written % rows, std::min(written, rows)}));
  }
}

TEST(QueueEnqueueKernel, RefusesTheStateOfAnotherQueue) {
  std::vector<float> numbers(6, 1);
  std::vector<int64_t> labels(3);
  for (std::vector<int64_t> state : {std::vector<int64_t>{3, 0}, {-1, 0}, {0, 4}, {0, -1}}) {
    const auto before = state;
    EXPECT_THROW(cpu::queue_enqueue({.queue_type = ElementType::kFloat32,
                                     .key_type = ElementType::kFloat32,
                                     .queue = {numbers.data(), 2, 1},
                                     .queue_labels = {labels.data(), 1, 0},
                                     .queue_state = {state.data(), 1, 0},
                                     .keys = {numbers.data(), 2, 1},
                                     .labels = {labels.data(), 1, 0},
                                     .queue_rows = 3,
                                     .num_keys = 3,
                                     .dim = 2},
                                    test_threads<1>()),
                 ArgumentError);
    EXPECT_EQ(state, before);
  }
}

}  // namespace
}  // namespace paco::testing
