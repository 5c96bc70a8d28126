#include <ATen/ATen.h>
#include <torch/library.h>

#include <algorithm>

#include "../queue_enqueue_checks.h"

namespace paco::aten {
namespace {

// Any device: the write pointer stays where it is, so the rows to write are computed there too.
void queue_enqueue_(const at::Tensor& queue, const at::Tensor& queue_labels,
                    const at::Tensor& queue_state, const at::Tensor& keys,
                    const at::Tensor& labels) {
  check_queue_enqueue(queue, queue_labels, queue_state, keys, labels);
  const int64_t capacity = queue.size(0);
  const int64_t batch = keys.size(0);
  const int64_t kept = std::min(batch, capacity);
  const auto pointer = queue_state.select(0, 0);
  const auto rows =
      at::arange(batch - kept, batch, queue_state.options()).add_(pointer).remainder_(capacity);
  queue.index_copy_(0, rows, keys.narrow(0, batch - kept, kept).to(queue.scalar_type()));
  queue_labels.index_copy_(0, rows, labels.narrow(0, batch - kept, kept));
  pointer.add_(batch).remainder_(capacity);
  queue_state.select(0, 1).add_(batch).clamp_max_(capacity);
}

}  // namespace
}  // namespace paco::aten

TORCH_LIBRARY_IMPL(paco, CompositeExplicitAutograd, m) {
  m.impl("queue_enqueue_", TORCH_FN(paco::aten::queue_enqueue_));
}
