#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "../paco_loss_problem.h"

// The CUDA kernels of paco_loss: raw pointers on the current device, and a stream. Nothing here
// allocates or waits. `tf32` lets float32 features be multiplied on the tensor cores.
namespace paco::cuda {

// Whether the kernels take rows of `dim` features of this type on the current device: an sm_80 or
// later with shared memory for the tiles, no float64, and at most 256 features.
cudaError_t paco_loss_supported(ElementType type, bool tf32, int64_t dim, bool& supported);

// How the columns are divided, and the scratch memory that this takes.
struct ForwardPlan {
  int num_shares;
  int64_t scratch_bytes;
};

// A queue must be dense here.
cudaError_t plan_paco_loss_forward(const PaCoLossProblem& problem, bool tf32, bool features_grad,
                                   ForwardPlan& plan);

// `scratch` is aligned to 16 bytes. All work is in order on `stream`.
cudaError_t launch_paco_loss_forward(const PaCoLossProblem& problem, bool tf32,
                                     const ForwardPlan& plan, void* scratch,
                                     const PaCoLossOutput& output, cudaStream_t stream);

// The two halves of the forward pass for one of several processes: the record of its columns, of
// the same plan and scratch, and its anchors from the records of all. The problem of the latter is
// that of cpu/paco_loss.h; losses are written, the loss is not.
cudaError_t launch_paco_loss_partial(const PaCoLossProblem& problem, bool tf32,
                                     const ForwardPlan& plan, void* scratch,
                                     const PaCoLossRecords& record, cudaStream_t stream);
cudaError_t launch_paco_loss_combine(const PaCoLossProblem& problem, const PaCoLossRecords& shares,
                                     const PaCoLossOutput& output, cudaStream_t stream);

// The backward pass of one process, or of one of several.
cudaError_t launch_paco_loss_backward(const PaCoLossProblem& problem, bool tf32,
                                      const PaCoLossGradients& gradients, cudaStream_t stream);

}  // namespace paco::cuda
