#include "paco_loss_kernels.cuh"

namespace paco::cuda {

template struct PaCoLossLauncher<Tf32Product>;

}  // namespace paco::cuda
