#pragma once

#include <ATen/core/Tensor.h>

#include "../kernels/queue_enqueue_problem.h"
#include "checks.h"

namespace paco {

// Borrowed for the length of one call.
struct QueueEnqueueArguments {
  const at::Tensor& queue;
  const at::Tensor& queue_labels;
  const at::Tensor& queue_state;
  const at::Tensor& keys;
  const at::Tensor& labels;
};

// The same values, in memory of their own where they lie in what is written.
at::Tensor apart_from(const at::Tensor& written, const at::Tensor& values);

// A kernel of queue_enqueue_ that calls a function of the struct, once it is checked.
template <auto function>
void queue_enqueue_adaptor(const at::Tensor& queue, const at::Tensor& queue_labels,
                           const at::Tensor& queue_state, const at::Tensor& keys,
                           const at::Tensor& labels) {
  check_queue_enqueue({queue, queue_labels, queue_state, keys, labels});
  const at::Tensor own_keys = apart_from(queue, keys);
  const at::Tensor own_labels = apart_from(queue_labels, labels);
  function(QueueEnqueueArguments{queue, queue_labels, queue_state, own_keys, own_labels});
}

// Arguments as kernels take them, where they lie.
QueueEnqueueProblem queue_enqueue_problem(const QueueEnqueueArguments& args);

}  // namespace paco
