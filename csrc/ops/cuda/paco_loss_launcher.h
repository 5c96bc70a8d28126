#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "paco_loss_body.h"
#include "paco_loss_launch.h"

namespace paco::cuda {

#define PACO_RETURN_IF_ERROR(call)            \
  do {                                        \
    const cudaError_t status = (call);        \
    if (status != cudaSuccess) return status; \
  } while (false)

// The launches of paco_loss_launch.h for one product. Defined in paco_loss_kernels.cuh, which a
// translation unit for each product includes, so that they compile side by side.
template <typename Product>
struct PaCoLossLauncher {
  // Whether the tiles for `dim` features fit into the shared memory of a block.
  static cudaError_t supported(int64_t dim, int shared_memory_per_block, bool& result);

  static cudaError_t plan(const PaCoLossInput& input, bool features_grad, PaCoLossPlan& plan);

  // Up to the losses of the anchors.
  static cudaError_t forward(const PaCoLossInput& input, const PaCoLossShares& shares,
                             const PaCoLossResults& results, cudaStream_t stream);

  static cudaError_t backward(const PaCoLossInput& input, const PaCoLossBackwardInput& saved,
                              cudaStream_t stream);
};

}  // namespace paco::cuda
