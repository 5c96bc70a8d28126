#include "device/anchors.h"
#include "device/center_gradient.h"
#include "paco_loss.h"
#include "pair_kernels.cuh"

namespace paco::cuda {
namespace {

constexpr int kAnchorThreads = 256;

template <typename Logit, typename Element>
__global__ void __launch_bounds__(kAnchorThreads, 4)  // 64 registers; left alone, ptxas spills
    finish_anchors_kernel(const DeviceProblem problem, const ForwardScratch scratch,
                          const PaCoLossOutput output) {
  DeviceContext<kAnchorThreads> context;
  finish_anchors<Logit, Element>(context, problem, scratch, output);
}

__global__ void __launch_bounds__(kAnchorThreads)
    average_anchors_kernel(const float* anchor_loss, int64_t num_anchors, float* loss) {
  DeviceContext<kAnchorThreads> context;
  average_anchors(context, anchor_loss, num_anchors, loss);
}

template <typename Logit>
__global__ void __launch_bounds__(kAnchorThreads)
    center_gradient_kernel(const DeviceProblem problem, const PaCoLossGradients gradients) {
  DeviceContext<kAnchorThreads> context;
  center_gradient<Logit>(context, problem, gradients);
}

// Calls `body` with the pair kernels for the features of the problem.
template <typename Body>
cudaError_t with_pair_kernels(ElementType type, bool tf32, const Body& body) {
  switch (type) {
    case ElementType::kFloat32:
      return tf32 ? body(PairKernels<Tf32Product>{}) : body(PairKernels<FloatProduct>{});
    case ElementType::kFloat16:
      return body(PairKernels<HalfProduct<Float16>>{});
    case ElementType::kBFloat16:
      return body(PairKernels<HalfProduct<BFloat16>>{});
    default:
      return cudaErrorInvalidValue;
  }
}

using AnchorKernel = void (*)(DeviceProblem, ForwardScratch, PaCoLossOutput);

template <typename Element>
AnchorKernel anchor_kernel(ElementType center_type) {
  return center_type == ElementType::kFloat32 ? finish_anchors_kernel<float, Element>
                                              : finish_anchors_kernel<Element, Element>;
}

AnchorKernel anchor_kernel(const PaCoLossProblem& problem) {
  switch (problem.type) {
    case ElementType::kFloat16:
      return anchor_kernel<Float16>(problem.center_type);
    case ElementType::kBFloat16:
      return anchor_kernel<BFloat16>(problem.center_type);
    default:
      return anchor_kernel<float>(problem.center_type);
  }
}

using CenterKernel = void (*)(DeviceProblem, PaCoLossGradients);

CenterKernel center_kernel(const PaCoLossProblem& problem) {
  switch (problem.center_type) {
    case ElementType::kFloat16:
      return center_gradient_kernel<Float16>;
    case ElementType::kBFloat16:
      return center_gradient_kernel<BFloat16>;
    default:
      return center_gradient_kernel<float>;
  }
}

}  // namespace

cudaError_t paco_loss_supported(ElementType type, bool tf32, int64_t dim, bool& supported) {
  supported = false;
  if (type == ElementType::kFloat64 || dim > kMaxDim) return cudaSuccess;
  int device = 0;
  int major = 0;
  int shared_memory = 0;
  PACO_RETURN_IF_ERROR(cudaGetDevice(&device));
  PACO_RETURN_IF_ERROR(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  if (major < 8) return cudaSuccess;
  PACO_RETURN_IF_ERROR(
      cudaDeviceGetAttribute(&shared_memory, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  return with_pair_kernels(
      type, tf32, [&](auto kernels) { return kernels.supported(dim, shared_memory, supported); });
}

cudaError_t plan_paco_loss_forward(const PaCoLossProblem& problem, bool tf32, bool features_grad,
                                   ForwardPlan& plan) {
  PACO_RETURN_IF_ERROR(with_pair_kernels(
      problem.type, tf32, [&](auto kernels) { return kernels.plan(problem, plan.num_shares); }));
  plan.scratch_bytes =
      ForwardScratch(nullptr, plan.num_shares, problem.num_anchors, problem.dim, features_grad)
          .bytes;
  return cudaSuccess;
}

cudaError_t launch_paco_loss_forward(const PaCoLossProblem& problem, bool tf32,
                                     const ForwardPlan& plan, void* scratch_memory,
                                     const PaCoLossOutput& output, cudaStream_t stream) {
  const ForwardScratch scratch(scratch_memory, plan.num_shares, problem.num_anchors, problem.dim,
                               output.anchor_grad != nullptr);
  PACO_RETURN_IF_ERROR(with_pair_kernels(problem.type, tf32, [&](auto kernels) {
    return kernels.stream_columns(problem, scratch, stream);
  }));
  anchor_kernel(problem)<<<static_cast<unsigned>(problem.num_anchors), kAnchorThreads,
                           sizeof(AnchorMemory), stream>>>(DeviceProblem(problem), scratch, output);
  PACO_RETURN_IF_ERROR(cudaGetLastError());
  average_anchors_kernel<<<1, kAnchorThreads, sizeof(AnchorMemory), stream>>>(
      scratch.anchor_loss, problem.num_anchors, static_cast<float*>(output.loss));
  return cudaGetLastError();
}

cudaError_t launch_paco_loss_backward(const PaCoLossProblem& problem, bool tf32,
                                      const PaCoLossGradients& gradients, cudaStream_t stream) {
  if (gradients.grad_features != nullptr) {
    PACO_RETURN_IF_ERROR(with_pair_kernels(problem.type, tf32, [&](auto kernels) {
      return kernels.feature_gradient(problem, gradients, stream);
    }));
  }
  if (gradients.grad_center_logits != nullptr) {
    const dim3 grid(static_cast<unsigned>(problem.num_anchors),
                    static_cast<unsigned>(divide_up(problem.num_classes, kCenterStep)));
    center_kernel(problem)<<<grid, kAnchorThreads, 0, stream>>>(DeviceProblem(problem), gradients);
    PACO_RETURN_IF_ERROR(cudaGetLastError());
  }
  return cudaSuccess;
}

}  // namespace paco::cuda
