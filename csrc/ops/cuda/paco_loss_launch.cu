#include <cuda_runtime.h>

#include "device_context.cuh"
#include "paco_loss_launch.h"
#include "paco_loss_launcher.h"
#include "paco_loss_plan.h"

namespace paco::cuda {

namespace {

constexpr int kAverageThreads = 256;

__global__ void __launch_bounds__(kAverageThreads)
    average_anchors_kernel(const float* anchor_loss, int64_t num_anchors, float* loss) {
  DeviceContext<kAverageThreads> context;
  average_anchors(context, anchor_loss, num_anchors, loss);
}

template <typename Body>
cudaError_t with_launcher(FeatureType type, const Body& body) {
  switch (type) {
    case FeatureType::kFloat32:
      return body(PaCoLossLauncher<FloatProduct>{});
    case FeatureType::kTf32:
      return body(PaCoLossLauncher<Tf32Product>{});
    case FeatureType::kFloat16:
      return body(PaCoLossLauncher<HalfProduct<Float16>>{});
    case FeatureType::kBFloat16:
      return body(PaCoLossLauncher<HalfProduct<BFloat16>>{});
  }
  return cudaErrorInvalidValue;
}

}  // namespace

cudaError_t paco_loss_supported(FeatureType type, int64_t dim, bool& supported) {
  supported = false;
  if (dim > kMaxDim) return cudaSuccess;
  int device = 0;
  int major = 0;
  int shared_memory = 0;
  PACO_RETURN_IF_ERROR(cudaGetDevice(&device));
  PACO_RETURN_IF_ERROR(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  if (major < 8) return cudaSuccess;
  PACO_RETURN_IF_ERROR(
      cudaDeviceGetAttribute(&shared_memory, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  return with_launcher(
      type, [&](auto launcher) { return launcher.supported(dim, shared_memory, supported); });
}

cudaError_t plan_paco_loss_forward(const PaCoLossInput& input, bool features_grad,
                                   PaCoLossPlan& plan) {
  return with_launcher(input.feature_type,
                       [&](auto launcher) { return launcher.plan(input, features_grad, plan); });
}

cudaError_t launch_paco_loss_forward(const PaCoLossInput& input, const PaCoLossPlan& plan,
                                     void* memory, const PaCoLossForwardOutput& output,
                                     cudaStream_t stream) {
  const PaCoLossWorkspace workspace(memory, plan.num_shares, input.num_anchors, input.dim,
                                    output.anchor_grad != nullptr);
  const PaCoLossResults results{workspace.anchor_loss, output.log_partition, output.pair_weight,
                                output.anchor_grad};
  PACO_RETURN_IF_ERROR(with_launcher(input.feature_type, [&](auto launcher) {
    return launcher.forward(input, workspace.shares, results, stream);
  }));
  average_anchors_kernel<<<1, kAverageThreads, sizeof(AnchorMemory), stream>>>(
      workspace.anchor_loss, input.num_anchors, output.loss);
  return cudaGetLastError();
}

cudaError_t launch_paco_loss_backward(const PaCoLossInput& input,
                                      const PaCoLossBackwardInput& gradients, cudaStream_t stream) {
  return with_launcher(input.feature_type,
                       [&](auto launcher) { return launcher.backward(input, gradients, stream); });
}

}  // namespace paco::cuda
