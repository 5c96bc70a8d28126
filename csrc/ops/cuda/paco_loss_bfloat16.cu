#include "paco_loss_kernels.cuh"

namespace paco::cuda {

template struct PaCoLossLauncher<HalfProduct<BFloat16>>;

}  // namespace paco::cuda
