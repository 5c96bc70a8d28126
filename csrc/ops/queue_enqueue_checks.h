#pragma once

#include <ATen/core/Tensor.h>

namespace paco {

// Throws c10::ValueError for shapes, dtypes and devices that do not fit together.
void check_queue_enqueue(const at::Tensor& queue, const at::Tensor& queue_labels,
                         const at::Tensor& queue_state, const at::Tensor& keys,
                         const at::Tensor& labels);

}  // namespace paco
