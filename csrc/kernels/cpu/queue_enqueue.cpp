#include "queue_enqueue.h"

#include <algorithm>
#include <cstdint>

#include "check_values.h"
#include "rows.h"

namespace paco::cpu {
namespace {

template <typename T = int64_t>
T& element(const StridedArray& array, int64_t row, int64_t column = 0) {
  return static_cast<T*>(array.data)[row * array.row_stride + column * array.column_stride];
}

template <typename T>
void copy_label(const QueueEnqueueProblem& problem, int64_t row, int64_t key) {
  for (int64_t c = 0; c < problem.label_columns; ++c) {
    element<T>(problem.queue_labels, row, c) = element<T>(problem.labels, key, c);
  }
}

void* address(const StridedArray& array, ElementType type, int64_t row, int64_t column) {
  return static_cast<char*>(array.data) +
         (row * array.row_stride + column * array.column_stride) * element_bytes(type);
}

}  // namespace

void queue_enqueue(const QueueEnqueueProblem& problem, const Threads& threads) {
  const int64_t capacity = problem.queue_rows;
  const int64_t batch = problem.num_keys;
  int64_t& pointer = element(problem.queue_state, 0);
  int64_t& num_valid = element(problem.queue_state, 1);
  if (pointer < 0 || pointer >= capacity || num_valid < 0 || num_valid > capacity) {
    refuse("queue_state must hold a row of queue and a number of its rows, ", capacity, ", got ",
           pointer, " and ", num_valid);
  }
  // A row at once, or number by number.
  const bool dense = problem.queue.column_stride == 1 && problem.keys.column_stride == 1;
  const int64_t step = dense ? problem.dim : 1;
  // The last keys stay where there are more than the queue has rows.
  const int64_t first = std::max<int64_t>(batch - capacity, 0);
  constexpr int64_t kThreadNumbers = 65536;
  threads.parallel_for(
      first, batch, kThreadNumbers / (problem.dim + 1) + 1, [&](int64_t begin, int64_t end) {
        for (int64_t key = begin; key < end; ++key) {
          const int64_t row = (pointer + key) % capacity;
          for (int64_t d = 0; d < problem.dim; d += step) {
            convert(address(problem.queue, problem.queue_type, row, d), problem.queue_type,
                    address(problem.keys, problem.key_type, key, d), problem.key_type, step);
          }
          problem.label_vectors ? copy_label<uint8_t>(problem, row, key)
                                : copy_label<int64_t>(problem, row, key);
        }
      });
  pointer = (pointer + batch) % capacity;
  num_valid = std::min(num_valid + batch, capacity);
}

}  // namespace paco::cpu
