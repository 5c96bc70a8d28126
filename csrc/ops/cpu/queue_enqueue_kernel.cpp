#include <ATen/ATen.h>
#include <torch/library.h>

#include <algorithm>

#include "../queue_enqueue_checks.h"

namespace paco::cpu {
namespace {

// The ring is written in at most two runs: up to its end, then from its start.
void queue_enqueue_(const at::Tensor& queue, const at::Tensor& queue_labels,
                    const at::Tensor& queue_state, const at::Tensor& keys,
                    const at::Tensor& labels) {
  check_queue_enqueue(queue, queue_labels, queue_state, keys, labels);
  auto state = queue_state.accessor<int64_t, 1>();
  const int64_t capacity = queue.size(0);
  TORCH_CHECK_VALUE(
      state[0] >= 0 && state[0] < capacity && state[1] >= 0 && state[1] <= capacity,
      "queue_enqueue_: queue_state must hold a row of queue and a number of its rows, ", capacity,
      ", got ", state[0], " and ", state[1]);

  const int64_t batch = keys.size(0);
  const int64_t kept = std::min(batch, capacity);
  const int64_t first = (state[0] + batch - kept) % capacity;
  const auto write = [&](int64_t row, int64_t from, int64_t size) {
    queue.narrow(0, row, size).copy_(keys.narrow(0, from, size));
    queue_labels.narrow(0, row, size).copy_(labels.narrow(0, from, size));
  };
  const int64_t to_the_end = std::min(kept, capacity - first);
  write(first, batch - kept, to_the_end);
  if (to_the_end < kept) write(0, batch - kept + to_the_end, kept - to_the_end);

  state[0] = (state[0] + batch) % capacity;
  state[1] = std::min(state[1] + batch, capacity);
}

}  // namespace
}  // namespace paco::cpu

TORCH_LIBRARY_IMPL(paco, CPU, m) { m.impl("queue_enqueue_", TORCH_FN(paco::cpu::queue_enqueue_)); }
