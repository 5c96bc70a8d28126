#include <torch/library.h>

#include "../queue_enqueue_checks.h"

TORCH_LIBRARY_IMPL(paco, Meta, m) {
  // Nothing but the checks: the operator returns nothing and changes no shape.
  m.impl("queue_enqueue_",
         [](const at::Tensor& queue, const at::Tensor& queue_labels, const at::Tensor& queue_state,
            const at::Tensor& keys, const at::Tensor& labels) {
           paco::check_queue_enqueue(queue, queue_labels, queue_state, keys, labels);
         });
}
