#include "pair_kernels.cuh"

namespace paco::cuda {

template struct PairKernels<HalfProduct<BFloat16>>;

}  // namespace paco::cuda
