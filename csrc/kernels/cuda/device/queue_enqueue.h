#pragma once

#include <cstdint>

#include "../../integers.h"
#include "../../platform.h"
#include "../../queue_enqueue_problem.h"

// The kernels of queue_enqueue_, two launches in order: copy_keys reads the write pointer,
// advance_pointer moves it when every block has.
namespace paco::cuda {

template <typename T>
PACO_DEVICE T& at(const StridedArray& array, int64_t row, int64_t column = 0) {
  return static_cast<T*>(array.data)[row * array.row_stride + column * array.column_stride];
}

// Copies of one type are bit for bit, also of double.
template <typename Context, typename T>
PACO_DEVICE void convert(Context&, T& to, const T& from) {
  to = from;
}
template <typename Context, typename To, typename From>
PACO_DEVICE void convert(Context& context, To& to, const From& from) {
  context.assign(to, context.to_float(from));
}

template <typename Queue, typename Key, typename Context>
PACO_DEVICE void copy_keys(Context& context, const QueueEnqueueProblem& problem) {
  const int64_t queue_rows = problem.queue_rows;
  const int64_t pointer = at<int64_t>(problem.queue_state, 0);
  const int64_t num_valid = at<int64_t>(problem.queue_state, 1);
  const bool is_state =
      pointer >= 0 && pointer < queue_rows && num_valid >= 0 && num_valid <= queue_rows;
  if (context.thread() == 0) {
    context.check(is_state,
                  "queue_enqueue_: queue_state must be a row and a number of rows of queue");
  }
  if (!is_state) return;

  // The last keys stay where there are more of them than rows, so no row is written twice.
  const int64_t skipped = problem.num_keys > queue_rows ? problem.num_keys - queue_rows : 0;
  const int64_t kept = problem.num_keys - skipped;
  const int64_t first = context.block_x() * context.num_threads() + context.thread();
  const int64_t stride = context.num_blocks_x() * context.num_threads();
  const int64_t columns = problem.label_columns;
  for (int64_t i = first; i < kept * columns; i += stride) {
    const int64_t key = skipped + i / columns;
    const int64_t row = (pointer + key) % queue_rows;
    const int64_t c = i % columns;
    if (problem.label_vectors) {
      at<uint8_t>(problem.queue_labels, row, c) = at<const uint8_t>(problem.labels, key, c);
    } else {
      at<int64_t>(problem.queue_labels, row, c) = at<const int64_t>(problem.labels, key, c);
    }
  }
  for (int64_t i = first; i < kept * problem.dim; i += stride) {
    const int64_t key = skipped + i / problem.dim;
    const int64_t d = i % problem.dim;
    const int64_t row = (pointer + key) % queue_rows;
    convert(context, at<Queue>(problem.queue, row, d), at<const Key>(problem.keys, key, d));
  }
}

template <typename Context>
PACO_DEVICE void advance_pointer(Context& context, const QueueEnqueueProblem& problem) {
  if (context.thread() != 0) return;
  auto& pointer = at<int64_t>(problem.queue_state, 0);
  auto& num_valid = at<int64_t>(problem.queue_state, 1);
  pointer = (pointer + problem.num_keys) % problem.queue_rows;
  num_valid = smaller(num_valid + problem.num_keys, problem.queue_rows);
}

}  // namespace paco::cuda
