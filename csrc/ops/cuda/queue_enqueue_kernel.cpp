#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "../queue_enqueue_checks.h"
#include "queue_enqueue_launch.h"

namespace paco::cuda {
namespace {

QueueType queue_type(const char* name, const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kDouble:
      return QueueType::kFloat64;
    case at::kFloat:
      return QueueType::kFloat32;
    case at::kHalf:
      return QueueType::kFloat16;
    case at::kBFloat16:
      return QueueType::kBFloat16;
    default:
      TORCH_CHECK_VALUE(false, "queue_enqueue_: ", name,
                        " must be float16, bfloat16, float32 or float64 on CUDA, got ",
                        tensor.scalar_type());
  }
}

StridedArray strided(const at::Tensor& tensor, void* data) {
  return {data, tensor.stride(0), tensor.dim() > 1 ? tensor.stride(1) : 0};
}

StridedArray written(const at::Tensor& tensor) {
  return strided(tensor, tensor.mutable_data_ptr());
}

StridedArray read(const at::Tensor& tensor) {
  return strided(tensor, const_cast<void*>(tensor.const_data_ptr()));
}

void queue_enqueue_(const at::Tensor& queue, const at::Tensor& queue_labels,
                    const at::Tensor& queue_state, const at::Tensor& keys,
                    const at::Tensor& labels) {
  check_queue_enqueue(queue, queue_labels, queue_state, keys, labels);
  const c10::cuda::CUDAGuard guard(queue.device());
  const auto type = queue_type("queue", queue);
  if (keys.size(0) == 0) return;
  const auto rows =
      queue_enqueue_converts(queue_type("keys", keys), type) ? keys : keys.to(queue.scalar_type());
  const QueueEnqueueInput input{
      .queue_type = type,
      .key_type = queue_type("keys", rows),
      .queue = written(queue),
      .queue_labels = written(queue_labels),
      .queue_state = written(queue_state),
      .keys = read(rows),
      .labels = read(labels),
      .queue_rows = queue.size(0),
      .num_keys = keys.size(0),
      .dim = queue.size(1),
  };
  C10_CUDA_CHECK(launch_queue_enqueue(input, c10::cuda::getCurrentCUDAStream()));
}

}  // namespace
}  // namespace paco::cuda

TORCH_LIBRARY_IMPL(paco, CUDA, m) {
  m.impl("queue_enqueue_", TORCH_FN(paco::cuda::queue_enqueue_));
}
