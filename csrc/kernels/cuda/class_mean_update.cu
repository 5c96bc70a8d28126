#include "class_mean_update.h"
#include "device/class_mean_update.h"
#include "device_context.cuh"

namespace paco::cuda {
namespace {

constexpr int kThreads = 128;

template <typename Mean, typename Feature>
__global__ void __launch_bounds__(kThreads) add_to_class_kernel(const ClassMeanProblem problem) {
  DeviceContext<kThreads> context;
  add_to_class<Mean, Feature>(context, problem);
}

template <typename Mean>
cudaError_t launch(const ClassMeanProblem& problem, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(problem.num_classes);
  switch (problem.feature_type) {
    case ElementType::kFloat64:
      add_to_class_kernel<Mean, double><<<blocks, kThreads, 0, stream>>>(problem);
      break;
    case ElementType::kFloat32:
      add_to_class_kernel<Mean, float><<<blocks, kThreads, 0, stream>>>(problem);
      break;
    case ElementType::kFloat16:
      add_to_class_kernel<Mean, Float16><<<blocks, kThreads, 0, stream>>>(problem);
      break;
    case ElementType::kBFloat16:
      add_to_class_kernel<Mean, BFloat16><<<blocks, kThreads, 0, stream>>>(problem);
      break;
  }
  return cudaGetLastError();
}

}  // namespace

cudaError_t launch_class_mean_update(const ClassMeanProblem& problem, cudaStream_t stream) {
  return problem.mean_type == ElementType::kFloat64 ? launch<double>(problem, stream)
                                                    : launch<float>(problem, stream);
}

}  // namespace paco::cuda
