#include "queue_enqueue.h"

#include "find_operator.h"

namespace paco {

void queue_enqueue_(const at::Tensor& queue, const at::Tensor& queue_labels,
                    const at::Tensor& queue_state, const at::Tensor& keys,
                    const at::Tensor& labels) {
  static const auto op = find_operator<decltype(queue_enqueue_)>("paco::queue_enqueue_");
  op.call(queue, queue_labels, queue_state, keys, labels);
}

}  // namespace paco
