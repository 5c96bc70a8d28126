#pragma once

#include <cstdint>

#include "element.h"

namespace paco::cuda {

// A matrix or, with one column, a vector; any strides, in elements.
template <typename T>
struct Strided {
  T* data;
  int64_t row_stride;
  int64_t column_stride;

  PACO_DEVICE T& at(int64_t row, int64_t column = 0) const {
    return data[row * row_stride + column * column_stride];
  }
};

template <typename Queue, typename Key>
struct QueueEnqueueArguments {
  Strided<Queue> queue;           // [K, D]
  Strided<int64_t> queue_labels;  // [K]
  Strided<int64_t> queue_state;   // [2]
  Strided<const Key> keys;        // [B, D]
  Strided<const int64_t> labels;  // [B]
  int64_t queue_rows;             // K
  int64_t num_keys;               // B
  int64_t dim;                    // D
};

// Copies of one type are bit for bit, also of double.
template <typename Context, typename T>
PACO_DEVICE void convert(Context&, T& to, const T& from) {
  to = from;
}
template <typename Context, typename To, typename From>
PACO_DEVICE void convert(Context& context, To& to, const From& from) {
  context.assign(to, context.to_float(from));
}

// Every block copies a part of the keys; the last one to have read the write pointer moves it.
//
// How many have read it is counted in the upper bits of the number of valid rows, for the length of
// the launch: no scratch memory, nothing to clear, and queues on other streams are not in the way.
constexpr int kArrivalBit = 40;

template <typename Queue, typename Key, typename Context>
PACO_DEVICE void enqueue_keys(Context& context,
                              const QueueEnqueueArguments<Queue, Key>& arguments) {
  auto& pointer = *reinterpret_cast<int64_t*>(context.shared_memory());
  if (context.thread() == 0) {
    pointer = context.load(&arguments.queue_state.at(0));
    constexpr uint64_t kArrival = uint64_t{1} << kArrivalBit;
    const uint64_t before = context.fetch_add(&arguments.queue_state.at(1), kArrival);
    const auto num_valid = static_cast<int64_t>(before % kArrival);
    context.check(
        pointer >= 0 && pointer < arguments.queue_rows && num_valid <= arguments.queue_rows,
        "queue_enqueue_: queue_state must be a row and a number of rows of queue");
    if (static_cast<int64_t>(before / kArrival) == context.num_blocks_x() - 1) {
      const int64_t filled = num_valid + arguments.num_keys;
      arguments.queue_state.at(0) = (pointer + arguments.num_keys) % arguments.queue_rows;
      arguments.queue_state.at(1) = filled < arguments.queue_rows ? filled : arguments.queue_rows;
    }
  }
  context.sync();

  // Of more keys than rows the last ones stay, so no row is written twice.
  const int64_t skipped =
      arguments.num_keys > arguments.queue_rows ? arguments.num_keys - arguments.queue_rows : 0;
  const int64_t kept = arguments.num_keys - skipped;
  const int64_t first = context.block_x() * context.num_threads() + context.thread();
  const int64_t stride = context.num_blocks_x() * context.num_threads();
  for (int64_t i = first; i < kept; i += stride) {
    const int64_t row = (pointer + skipped + i) % arguments.queue_rows;
    arguments.queue_labels.at(row) = arguments.labels.at(skipped + i);
  }
  for (int64_t i = first; i < kept * arguments.dim; i += stride) {
    const int64_t key = skipped + i / arguments.dim;
    const int64_t d = i % arguments.dim;
    const int64_t row = (pointer + key) % arguments.queue_rows;
    convert(context, arguments.queue.at(row, d), arguments.keys.at(key, d));
  }
}

}  // namespace paco::cuda
