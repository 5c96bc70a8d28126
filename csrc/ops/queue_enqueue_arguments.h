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

// A kernel of queue_enqueue_ that calls a function of the struct, once it is checked.
template <auto function>
void queue_enqueue_adaptor(const at::Tensor& queue, const at::Tensor& queue_labels,
                           const at::Tensor& queue_state, const at::Tensor& keys,
                           const at::Tensor& labels) {
  const QueueEnqueueArguments args{queue, queue_labels, queue_state, keys, labels};
  check_queue_enqueue(args);
  function(args);
}

// Arguments as kernels take them, where they lie.
QueueEnqueueProblem queue_enqueue_problem(const QueueEnqueueArguments& args);

}  // namespace paco
