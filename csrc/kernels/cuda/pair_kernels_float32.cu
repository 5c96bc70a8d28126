#include "pair_kernels.cuh"

namespace paco::cuda {

template struct PairKernels<FloatProduct>;

}  // namespace paco::cuda
