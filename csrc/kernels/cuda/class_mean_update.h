#pragma once

#include <cuda_runtime_api.h>

#include "../class_mean_problem.h"

// The CUDA kernel of class_mean_update_: raw pointers on the current device, and a stream.
namespace paco::cuda {

// One launch on `stream`.
cudaError_t launch_class_mean_update(const ClassMeanProblem& problem, cudaStream_t stream);

}  // namespace paco::cuda
