#include <gtest/gtest.h>
#include <paco/ops/cuda/queue_enqueue_body.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "host_context.h"

namespace paco::cuda {
namespace {

struct Sizes {
  int64_t queue_rows;
  int64_t num_keys;
  int64_t dim;
  int64_t pointer;
  int64_t num_valid;
};

class QueueEnqueueBodyTest : public ::testing::Test {
 protected:
  int64_t draw(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }

  // Keys into a queue whose rows are `column_stride` apart, row by row as the definition says.
  template <typename Queue, typename Key>
  void expect_as_defined(const Sizes& sizes, int64_t num_blocks, int64_t column_stride) {
    const auto [queue_rows, num_keys, dim, pointer, num_valid] = sizes;
    SCOPED_TRACE("K " + std::to_string(queue_rows) + ", B " + std::to_string(num_keys) +
                 ", pointer " + std::to_string(pointer));
    const auto size = [](int64_t count) { return static_cast<size_t>(count); };
    std::vector<Queue> queue(size(queue_rows * dim * column_stride));
    std::vector<int64_t> queue_labels(size(queue_rows), -1);
    std::vector<int64_t> state{pointer, num_valid};
    std::vector<Key> keys(size(num_keys * dim));
    std::vector<int64_t> labels(size(num_keys));
    std::normal_distribution<float> normal;
    for (auto& value : queue) HostContext::assign(value, normal(random_));
    for (auto& value : keys) HostContext::assign(value, normal(random_));
    for (auto& label : labels) label = draw(0, 1000);

    auto expected_queue = queue;
    auto expected_labels = queue_labels;
    for (int64_t i = 0; i < num_keys; ++i) {
      const int64_t row = (pointer + i) % queue_rows;
      for (int64_t d = 0; d < dim; ++d) {
        HostContext::assign(expected_queue[size((row * dim + d) * column_stride)],
                            HostContext::to_float(keys[size(i * dim + d)]));
      }
      expected_labels[size(row)] = labels[size(i)];
    }
    const std::vector<int64_t> expected_state{(pointer + num_keys) % queue_rows,
                                              std::min(num_valid + num_keys, queue_rows)};

    const QueueEnqueueArguments<Queue, Key> arguments{
        {queue.data(), dim * column_stride, column_stride},
        {queue_labels.data(), 1, 0},
        {state.data(), 1, 0},
        {keys.data(), dim, 1},
        {labels.data(), 1, 0},
        queue_rows,
        num_keys,
        dim};
    const auto report =
        launch_on_host({num_blocks, 1}, 32, sizeof(int64_t),
                       [&](HostContext& context) { enqueue_keys(context, arguments); });
    EXPECT_EQ(report.violated_check, "");
    EXPECT_EQ(state, expected_state);
    EXPECT_EQ(queue_labels, expected_labels);
    for (size_t i = 0; i < queue.size(); ++i) {
      ASSERT_EQ(HostContext::to_float(queue[i]), HostContext::to_float(expected_queue[i])) << i;
    }
  }

 private:
  std::mt19937_64 random_{std::random_device{}()};
};

TEST_F(QueueEnqueueBodyTest, RandomSizes) {
  for (int i = 0; i < 20; ++i) {
    const int64_t queue_rows = draw(1, 20);
    const Sizes sizes{queue_rows, draw(1, 50), draw(1, 9), draw(0, queue_rows - 1),
                      draw(0, queue_rows)};
    expect_as_defined<float, float>(sizes, draw(1, 6), draw(1, 2));
  }
}

TEST_F(QueueEnqueueBodyTest, WrapsAround) {
  expect_as_defined<float, float>({10, 6, 3, 7, 7}, 3, 1);
}

TEST_F(QueueEnqueueBodyTest, MoreKeysThanRowsLeaveTheLast) {
  expect_as_defined<float, float>({7, 40, 5, 3, 2}, 4, 1);
}

TEST_F(QueueEnqueueBodyTest, WithoutFeaturesLabelsAreWritten) {
  expect_as_defined<float, float>({10, 6, 0, 7, 7}, 1, 1);
}

TEST_F(QueueEnqueueBodyTest, ConvertsKeys) {
  expect_as_defined<float, BFloat16>({10, 6, 3, 7, 7}, 2, 1);
  expect_as_defined<Float16, float>({10, 6, 3, 7, 7}, 2, 1);
  expect_as_defined<BFloat16, BFloat16>({10, 6, 3, 7, 7}, 2, 1);
}

TEST_F(QueueEnqueueBodyTest, BadStateIsReported) {
  std::vector<float> queue(4);
  std::vector<float> key(2);
  std::vector<int64_t> queue_labels(2);
  std::vector<int64_t> labels(1);
  for (const auto& state : {std::vector<int64_t>{2, 0}, {-1, 0}, {0, 3}, {0, -1}}) {
    auto written = state;
    const QueueEnqueueArguments<float, float> arguments{{queue.data(), 2, 1},
                                                        {queue_labels.data(), 1, 0},
                                                        {written.data(), 1, 0},
                                                        {key.data(), 2, 1},
                                                        {labels.data(), 1, 0},
                                                        2,
                                                        0,  // the rows of keys would not be there
                                                        2};
    const auto report = launch_on_host(
        {}, 32, sizeof(int64_t), [&](HostContext& context) { enqueue_keys(context, arguments); });
    EXPECT_NE(report.violated_check.find("queue_state"), std::string::npos);
  }
}

}  // namespace
}  // namespace paco::cuda
