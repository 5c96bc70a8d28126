#pragma once

#include <ATen/core/Tensor.h>

#include <utility>
#include <vector>

#include "../kernels/element.h"
#include "checks.h"

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

// Plain pointers, and what had to be copied to be dense or of the right dtype: it outlives the
// kernels' calls.
class DenseTensors {
 public:
  const void* dense(const at::Tensor& tensor) { return keep(tensor.contiguous()).const_data_ptr(); }
  template <typename T>
  const T* dense(const at::Tensor& tensor) {
    return keep(tensor.contiguous()).const_data_ptr<T>();
  }

  // The same in the dtype that sums over `rows` have.
  const void* dense_wide(const at::Tensor& tensor, const at::Tensor& rows) {
    return dense(tensor.to(accumulate_type(rows.scalar_type())));
  }

  // A queue whose rows are dense is used where it lies on the CPU.
  template <typename Problem>
  void set_queue(Problem& problem, const OptionalTensor& queue, const OptionalTensor& queue_labels,
                 const OptionalTensor& num_valid) {
    if (!queue) return;
    const bool in_place = queue->is_cpu() && queue->stride(1) == 1;
    const at::Tensor rows = keep(in_place ? *queue : queue->contiguous());
    problem.queue = rows.const_data_ptr();
    problem.queue_rows = rows.size(0);
    problem.queue_stride = rows.stride(0);
    problem.queue_labels = dense<int64_t>(*queue_labels);
    if (num_valid) problem.num_valid = dense<int64_t>(*num_valid);
  }

 private:
  at::Tensor keep(at::Tensor tensor) { return kept_.emplace_back(std::move(tensor)); }

  std::vector<at::Tensor> kept_;
};

}  // namespace paco
