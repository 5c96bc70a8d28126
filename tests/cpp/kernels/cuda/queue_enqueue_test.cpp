#include <gtest/gtest.h>
#include <paco/kernels/cuda/device/queue_enqueue.h>

#include <algorithm>
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

StridedArray vector_of(std::vector<int64_t>& values) { return {values.data(), 1, 0}; }

// The launches of queue_enqueue.cu; returns the check that was violated.
template <typename Queue, typename Key>
std::string run(const QueueEnqueueProblem& problem, int64_t num_blocks) {
  const auto copied = launch_on_host({num_blocks, 1}, 32, 0, [&](HostContext& context) {
    copy_keys<Queue, Key>(context, problem);
  });
  if (!copied.violated_check.empty()) return copied.violated_check;  // as on a GPU
  return launch_on_host({}, 32, 0, [&](HostContext& context) { advance_pointer(context, problem); })
      .violated_check;
}

class QueueEnqueueTest : public ::testing::Test {
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

    const QueueEnqueueProblem problem{
        .queue_type = {},  // the launches' business, as is the next
        .key_type = {},
        .queue = {queue.data(), dim * column_stride, column_stride},
        .queue_labels = vector_of(queue_labels),
        .queue_state = vector_of(state),
        .keys = {keys.data(), dim, 1},
        .labels = vector_of(labels),
        .queue_rows = queue_rows,
        .num_keys = num_keys,
        .dim = dim,
    };
    EXPECT_EQ((run<Queue, Key>(problem, num_blocks)), "");
    EXPECT_EQ(state, expected_state);
    EXPECT_EQ(queue_labels, expected_labels);
    for (size_t i = 0; i < queue.size(); ++i) {
      ASSERT_EQ(HostContext::to_float(queue[i]), HostContext::to_float(expected_queue[i])) << i;
    }
  }

 private:
  std::mt19937_64 random_{std::random_device{}()};
};

TEST_F(QueueEnqueueTest, RandomSizes) {
  for (int i = 0; i < 20; ++i) {
    const int64_t queue_rows = draw(1, 20);
    const Sizes sizes{queue_rows, draw(1, 50), draw(1, 9), draw(0, queue_rows - 1),
                      draw(0, queue_rows)};
    expect_as_defined<float, float>(sizes, draw(1, 6), draw(1, 2));
  }
}

TEST_F(QueueEnqueueTest, WrapsAround) { expect_as_defined<float, float>({10, 6, 3, 7, 7}, 3, 1); }

TEST_F(QueueEnqueueTest, MoreKeysThanRowsLeaveTheLast) {
  expect_as_defined<float, float>({7, 40, 5, 3, 2}, 4, 1);
}

TEST_F(QueueEnqueueTest, WithoutFeaturesLabelsAreWritten) {
  expect_as_defined<float, float>({10, 6, 0, 7, 7}, 1, 1);
}

TEST_F(QueueEnqueueTest, ConvertsKeys) {
  expect_as_defined<float, BFloat16>({10, 6, 3, 7, 7}, 2, 1);
  expect_as_defined<Float16, float>({10, 6, 3, 7, 7}, 2, 1);
  expect_as_defined<BFloat16, BFloat16>({10, 6, 3, 7, 7}, 2, 1);
}

TEST_F(QueueEnqueueTest, LabelVectorsAreWrittenRowByRow) {
  const int64_t queue_rows = 5;
  const int64_t num_keys = 7;
  const int64_t num_classes = 11;
  std::vector<float> queue(queue_rows);
  std::vector<float> keys(num_keys);
  std::vector<uint8_t> queue_labels(queue_rows * num_classes, 2);
  std::vector<uint8_t> labels(num_keys * num_classes);
  for (auto& label : labels) label = static_cast<uint8_t>(draw(0, 1));
  std::vector<int64_t> state{3, 4};
  const QueueEnqueueProblem problem{
      .queue_type = {},
      .key_type = {},
      .queue = {queue.data(), 1, 1},
      .queue_labels = {queue_labels.data(), num_classes, 1},
      .queue_state = vector_of(state),
      .keys = {keys.data(), 1, 1},
      .labels = {labels.data(), num_classes, 1},
      .queue_rows = queue_rows,
      .num_keys = num_keys,
      .dim = 1,
      .label_columns = num_classes,
      .label_vectors = true,
  };
  EXPECT_EQ((run<float, float>(problem, 2)), "");
  for (int64_t key = num_keys - queue_rows; key < num_keys; ++key) {
    const int64_t row = (3 + key) % queue_rows;
    for (int64_t c = 0; c < num_classes; ++c) {
      ASSERT_EQ(queue_labels[row * num_classes + c], labels[key * num_classes + c]) << row;
    }
  }
}

TEST_F(QueueEnqueueTest, BadStateIsReportedAndNothingWritten) {
  for (const auto& bad_state : {std::vector<int64_t>{2, 0}, {-1, 0}, {0, 3}, {0, -1}}) {
    auto state = bad_state;
    std::vector<float> queue(4, -1);
    std::vector<float> key(2);
    std::vector<int64_t> queue_labels(2, -1);
    std::vector<int64_t> labels(1);
    const QueueEnqueueProblem problem{
        .queue_type = {},
        .key_type = {},
        .queue = {queue.data(), 2, 1},
        .queue_labels = vector_of(queue_labels),
        .queue_state = vector_of(state),
        .keys = {key.data(), 2, 1},
        .labels = vector_of(labels),
        .queue_rows = 2,
        .num_keys = 1,
        .dim = 2,
    };
    const auto violated_check = run<float, float>(problem, 1);
    EXPECT_NE(violated_check.find("queue_state"), std::string::npos);
    EXPECT_EQ(queue, std::vector<float>(4, -1));
    EXPECT_EQ(queue_labels, std::vector<int64_t>(2, -1));
    EXPECT_EQ(state, bad_state);
  }
}

}  // namespace
}  // namespace paco::cuda
