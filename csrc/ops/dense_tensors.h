#pragma once

#include <ATen/core/Tensor.h>

#include "../kernels/element.h"

// Tensors as kernels take them.
namespace paco {

inline ElementType element_type(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kDouble:
      return ElementType::kFloat64;
    case at::kHalf:
      return ElementType::kFloat16;
    case at::kBFloat16:
      return ElementType::kBFloat16;
    default:  // the checks let no other through
      return ElementType::kFloat32;
  }
}

// On the CPU a queue whose rows are dense is used where it lies.
inline at::Tensor rows_where_they_lie(const at::Tensor& queue) {
  return queue.is_cpu() && queue.stride(1) == 1 ? queue : queue.contiguous();
}

}  // namespace paco
