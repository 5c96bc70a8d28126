#include "queue_enqueue.h"

#include <ATen/core/dispatch/Dispatcher.h>

namespace paco {

void queue_enqueue_(const at::Tensor& queue, const at::Tensor& queue_labels,
                    const at::Tensor& queue_state, const at::Tensor& keys,
                    const at::Tensor& labels) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("paco::queue_enqueue_", "")
                             .typed<decltype(queue_enqueue_)>();
  op.call(queue, queue_labels, queue_state, keys, labels);
}

}  // namespace paco
