#include "pair_kernels.cuh"

namespace paco::cuda {

template struct PairKernels<HalfProduct<Float16>>;

}  // namespace paco::cuda
