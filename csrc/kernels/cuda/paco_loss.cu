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

template <typename Logit, typename Element>
__global__ void __launch_bounds__(kAnchorThreads, 4)
    record_anchors_kernel(const DeviceProblem problem, const ForwardScratch scratch,
                          const GatheredAnchors source, const PaCoLossRecords record) {
  DeviceContext<kAnchorThreads> context;
  record_anchors<Logit, Element>(context, problem, scratch, source, record);
}

template <typename Element>
__global__ void __launch_bounds__(kAnchorThreads)
    combine_anchors_kernel(const DeviceProblem problem, const PaCoLossRecords records,
                           const PaCoLossOutput output) {
  DeviceContext<kAnchorThreads> context;
  combine_anchors<Element>(context, problem, records, output);
}

__global__ void __launch_bounds__(kAnchorThreads)
    average_anchors_kernel(const float* anchor_loss, int64_t num_anchors, float* loss) {
  DeviceContext<kAnchorThreads> context;
  average_anchors(context, anchor_loss, num_anchors, loss);
}

template <typename Logit, typename Source>
__global__ void __launch_bounds__(kAnchorThreads)
    center_gradient_kernel(const DeviceProblem problem, const PaCoLossGradients gradients,
                           const Source source) {
  DeviceContext<kAnchorThreads> context;
  center_gradient<Logit>(context, problem, gradients, source);
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

template <typename T>
struct TypeTag {
  using Type = T;
};

// Calls `body` with the type of the features, which is not double.
template <typename Body>
void with_element(const PaCoLossProblem& problem, const Body& body) {
  switch (problem.type) {
    case ElementType::kFloat16:
      return body(TypeTag<Float16>{});
    case ElementType::kBFloat16:
      return body(TypeTag<BFloat16>{});
    default:
      return body(TypeTag<float>{});
  }
}

// Calls `body` with the types of center logits and features.
template <typename Body>
void with_logit_and_element(const PaCoLossProblem& problem, const Body& body) {
  with_element(problem, [&](auto element) {
    if (problem.center_type == ElementType::kFloat32) return body(TypeTag<float>{}, element);
    body(element, element);
  });
}

// The weight of the centers is 0 without any in one process; here they are in the records.
DeviceProblem combine_problem(const PaCoLossProblem& problem) {
  DeviceProblem result(problem);
  result.beta = static_cast<float>(problem.beta);
  return result;
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
  with_logit_and_element(problem, [&](auto logit, auto element) {
    finish_anchors_kernel<typename decltype(logit)::Type, typename decltype(element)::Type>
        <<<static_cast<unsigned>(problem.num_anchors), kAnchorThreads, sizeof(AnchorMemory),
           stream>>>(DeviceProblem(problem), scratch, output);
  });
  PACO_RETURN_IF_ERROR(cudaGetLastError());
  average_anchors_kernel<<<1, kAnchorThreads, sizeof(AnchorMemory), stream>>>(
      scratch.anchor_loss, problem.num_anchors, static_cast<float*>(output.loss));
  return cudaGetLastError();
}

cudaError_t launch_paco_loss_partial(const PaCoLossProblem& problem, bool tf32,
                                     const ForwardPlan& plan, void* scratch_memory,
                                     const PaCoLossRecords& record, cudaStream_t stream) {
  const ForwardScratch scratch(scratch_memory, plan.num_shares, problem.num_anchors, problem.dim,
                               record.has_exp_rows);
  PACO_RETURN_IF_ERROR(with_pair_kernels(problem.type, tf32, [&](auto kernels) {
    return kernels.stream_columns(problem, scratch, stream);
  }));
  with_logit_and_element(problem, [&](auto logit, auto element) {
    record_anchors_kernel<typename decltype(logit)::Type, typename decltype(element)::Type>
        <<<static_cast<unsigned>(problem.num_anchors), kAnchorThreads, sizeof(AnchorMemory),
           stream>>>(DeviceProblem(problem), scratch, GatheredAnchors(problem), record);
  });
  return cudaGetLastError();
}

cudaError_t launch_paco_loss_combine(const PaCoLossProblem& problem, const PaCoLossRecords& shares,
                                     const PaCoLossOutput& output, cudaStream_t stream) {
  if (problem.num_anchors == 0) return cudaSuccess;  // one of several processes may have none
  with_element(problem, [&](auto element) {
    combine_anchors_kernel<typename decltype(element)::Type>
        <<<static_cast<unsigned>(problem.num_anchors), kAnchorThreads, sizeof(AnchorMemory),
           stream>>>(combine_problem(problem), shares, output);
  });
  return cudaGetLastError();
}

cudaError_t launch_paco_loss_backward(const PaCoLossProblem& problem, bool tf32,
                                      const PaCoLossGradients& gradients, cudaStream_t stream) {
  if (gradients.grad_features != nullptr) {
    PACO_RETURN_IF_ERROR(with_pair_kernels(problem.type, tf32, [&](auto kernels) {
      return kernels.feature_gradient(problem, gradients, stream);
    }));
  }
  if (gradients.grad_center_logits == nullptr) return cudaSuccess;
  const dim3 grid(static_cast<unsigned>(problem.num_anchors),
                  static_cast<unsigned>(divide_up(problem.num_classes, kCenterStep)));
  return with_source(problem, [&](auto source) {
    using Source = decltype(source);
    const auto kernel =
        problem.center_type == ElementType::kFloat16    ? center_gradient_kernel<Float16, Source>
        : problem.center_type == ElementType::kBFloat16 ? center_gradient_kernel<BFloat16, Source>
                                                        : center_gradient_kernel<float, Source>;
    kernel<<<grid, kAnchorThreads, 0, stream>>>(backward_problem(problem, gradients), gradients,
                                                source);
    return cudaGetLastError();
  });
}

}  // namespace paco::cuda
