#include "paco_loss_kernels.cuh"

namespace paco::cuda {

template struct PaCoLossLauncher<HalfProduct<Float16>>;

}  // namespace paco::cuda
