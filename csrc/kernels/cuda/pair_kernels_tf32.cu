#include "pair_kernels.cuh"

namespace paco::cuda {

template struct PairKernels<Tf32Product>;

}  // namespace paco::cuda
