#include "device/vmf_logits.h"
#include "device_context.cuh"
#include "vmf_logits.h"

namespace paco::cuda {
namespace {

constexpr int kThreads = 128;

template <typename T, typename Sum>
__global__ void __launch_bounds__(kThreads) vmf_pairs_kernel(const VmfPairs<T, Sum> pairs) {
  DeviceContext<kThreads> context;
  vmf_pairs(context, pairs);
}

template <typename T, typename Sum>
cudaError_t launch(const VmfPairsProblem& problem, cudaStream_t stream) {
  const VmfPairs<T, Sum> pairs{vmf_series<T>(problem.dim),
                               static_cast<const T*>(problem.products),
                               static_cast<const T*>(problem.squares),
                               static_cast<const Sum*>(problem.concentration),
                               static_cast<Sum*>(problem.logits),
                               static_cast<Sum*>(problem.slope),
                               problem.num_anchors,
                               problem.num_classes,
                               static_cast<T>(problem.temperature)};
  const auto blocks = static_cast<unsigned>(divide_up(problem.num_classes, kThreads) *
                                            divide_up(problem.num_anchors, kVmfBlockAnchors));
  vmf_pairs_kernel<<<blocks, kThreads, 0, stream>>>(pairs);
  return cudaGetLastError();
}

}  // namespace

cudaError_t launch_vmf_pairs(const VmfPairsProblem& problem, cudaStream_t stream) {
  if (problem.sum_type == ElementType::kFloat64) return launch<double, double>(problem, stream);
  return problem.in_double ? launch<double, float>(problem, stream)
                           : launch<float, float>(problem, stream);
}

}  // namespace paco::cuda
