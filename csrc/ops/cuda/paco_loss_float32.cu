#include "paco_loss_kernels.cuh"

namespace paco::cuda {

template struct PaCoLossLauncher<FloatProduct>;

}  // namespace paco::cuda
