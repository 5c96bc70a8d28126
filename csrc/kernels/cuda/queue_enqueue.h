#pragma once

#include <cuda_runtime_api.h>

#include "../queue_enqueue_problem.h"

// The CUDA kernels of queue_enqueue_: raw pointers on the current device, and a stream.
namespace paco::cuda {

// Whether the kernels convert keys of one type to rows of the other.
bool queue_enqueue_converts(ElementType key_type, ElementType queue_type);

// Two launches on `stream`; the write pointer stays on the device. B > 0.
cudaError_t launch_queue_enqueue(const QueueEnqueueProblem& problem, cudaStream_t stream);

}  // namespace paco::cuda
