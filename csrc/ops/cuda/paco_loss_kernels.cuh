#pragma once

#include <cuda_runtime.h>

#include <type_traits>

#include "device_context.cuh"
#include "paco_loss_body.h"
#include "paco_loss_launcher.h"
#include "paco_loss_plan.h"

// The kernels of paco_loss and their launches, for one product. Every product is instantiated in a
// translation unit of its own, so that they compile side by side.
namespace paco::cuda {

constexpr int kAnchorThreads = 256;

// Blocks of the pair kernels that a multiprocessor has registers for: what ptxas is held to. Left
// alone it aims at more, and spills.
constexpr int resident_pair_blocks(int dim) { return dim <= 128 ? 3 : 2; }

template <typename Product, int kDim>
__global__ void __launch_bounds__(kPairThreads, resident_pair_blocks(kDim))
    stream_columns_kernel(const PaCoLossProblem<typename Product::Element> problem,
                          const PaCoLossShares shares) {
  DeviceContext<kPairThreads> context;
  if (blockIdx.z == 0) {
    stream_pairs<Product, kDim>(context, problem, shares);
  } else {
    sum_classes(context, problem, shares);
  }
}

template <typename Logit, typename Element>
__global__ void __launch_bounds__(kAnchorThreads, 4)  // 64 registers; left alone, ptxas spills
    finish_anchors_kernel(const PaCoLossProblem<Element> problem, const PaCoLossShares shares,
                          const PaCoLossResults results) {
  DeviceContext<kAnchorThreads> context;
  finish_anchors<Logit>(context, problem, shares, results);
}

template <typename Product, int kDim>
__global__ void __launch_bounds__(kPairThreads, resident_pair_blocks(kDim))
    feature_gradient_kernel(const PaCoLossProblem<typename Product::Element> problem,
                            const PaCoLossGradients gradients) {
  DeviceContext<kPairThreads> context;
  feature_gradient<Product, kDim>(context, problem, gradients);
}

template <typename Logit, typename Element>
__global__ void __launch_bounds__(kAnchorThreads)
    center_gradient_kernel(const PaCoLossProblem<Element> problem,
                           const PaCoLossGradients gradients) {
  DeviceContext<kAnchorThreads> context;
  center_gradient<Logit>(context, problem, gradients);
}

// ---- Launches ----

// Calls `body` with the smallest tile that holds `dim` features.
template <typename Body>
cudaError_t with_tile(int64_t dim, const Body& body) {
  if (dim <= 64) return body(std::integral_constant<int, 64>{});
  if (dim <= 128) return body(std::integral_constant<int, 128>{});
  return body(std::integral_constant<int, kMaxDim>{});
}

// A block gets more than 48 KB of shared memory only after this.
template <typename Kernel>
cudaError_t allow_shared_memory(Kernel* kernel, int bytes) {
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

template <typename Element>
PaCoLossProblem<Element> make_problem(const PaCoLossInput& input) {
  const int dim = static_cast<int>(input.dim);
  return {
      {static_cast<const Element*>(input.features), input.num_rows, dim},
      input.labels,
      {static_cast<const Element*>(input.queue), input.queue_rows, dim},
      input.queue_labels,
      input.queue_size,
      input.center_logits,
      input.anchor_weight,
      input.num_anchors,
      input.num_classes,
      static_cast<float>(input.alpha),
      input.center_logits == nullptr ? 0.0f : static_cast<float>(input.beta),
      static_cast<float>(input.gamma),
      static_cast<float>(input.temperature),
      static_cast<float>(input.base_temperature),
      static_cast<float>(input.label_smoothing),
  };
}

template <typename Product>
cudaError_t PaCoLossLauncher<Product>::supported(int64_t dim, int shared_memory_per_block,
                                                 bool& result) {
  return with_tile(dim, [&](auto tile) {
    using Memory = LaunchMemory<Product, decltype(tile)::value>;
    result = Memory::kStreamColumns <= shared_memory_per_block &&
             Memory::kFeatureGradient <= shared_memory_per_block;
    return cudaSuccess;
  });
}

template <typename Product>
cudaError_t PaCoLossLauncher<Product>::plan(const PaCoLossInput& input, bool features_grad,
                                            PaCoLossPlan& plan) {
  return with_tile(input.dim, [&](auto tile) {
    constexpr int kDim = decltype(tile)::value;
    const auto kernel = stream_columns_kernel<Product, kDim>;
    constexpr int kBytes = LaunchMemory<Product, kDim>::kStreamColumns;
    PACO_RETURN_IF_ERROR(allow_shared_memory(kernel, kBytes));
    int device = 0;
    int multiprocessors = 0;
    int blocks = 0;
    PACO_RETURN_IF_ERROR(cudaGetDevice(&device));
    PACO_RETURN_IF_ERROR(
        cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
    PACO_RETURN_IF_ERROR(
        cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, kPairThreads, kBytes));
    plan.num_shares = choose_num_shares(input.num_anchors, input.num_rows + input.queue_rows,
                                        static_cast<int64_t>(multiprocessors) * blocks);
    plan.workspace_bytes =
        PaCoLossWorkspace(nullptr, plan.num_shares, input.num_anchors, input.dim, features_grad)
            .bytes;
    return cudaSuccess;
  });
}

template <typename Product>
cudaError_t PaCoLossLauncher<Product>::forward(const PaCoLossInput& input,
                                               const PaCoLossShares& shares,
                                               const PaCoLossResults& results,
                                               cudaStream_t stream) {
  using Element = typename Product::Element;
  const auto problem = make_problem<Element>(input);
  PACO_RETURN_IF_ERROR(with_tile(input.dim, [&](auto tile) {
    constexpr int kDim = decltype(tile)::value;
    constexpr int kBytes = LaunchMemory<Product, kDim>::kStreamColumns;
    const dim3 grid(static_cast<unsigned>(divide_up(input.num_anchors, kPairRows)),
                    static_cast<unsigned>(shares.num_shares), 2);
    stream_columns_kernel<Product, kDim><<<grid, kPairThreads, kBytes, stream>>>(problem, shares);
    return cudaGetLastError();
  }));
  const auto kernel = input.float_logits ? finish_anchors_kernel<float, Element>
                                         : finish_anchors_kernel<Element, Element>;
  kernel<<<static_cast<unsigned>(input.num_anchors), kAnchorThreads, sizeof(AnchorMemory),
           stream>>>(problem, shares, results);
  return cudaGetLastError();
}

template <typename Product>
cudaError_t PaCoLossLauncher<Product>::backward(const PaCoLossInput& input,
                                                const PaCoLossBackwardInput& saved,
                                                cudaStream_t stream) {
  using Element = typename Product::Element;
  const auto problem = make_problem<Element>(input);
  const PaCoLossGradients gradients{saved.grad_loss,     saved.log_partition,
                                    saved.pair_weight,   saved.anchor_grad,
                                    saved.grad_features, saved.grad_center_logits};
  if (gradients.grad_features != nullptr) {
    PACO_RETURN_IF_ERROR(with_tile(input.dim, [&](auto tile) {
      constexpr int kDim = decltype(tile)::value;
      constexpr int kBytes = LaunchMemory<Product, kDim>::kFeatureGradient;
      const auto kernel = feature_gradient_kernel<Product, kDim>;
      PACO_RETURN_IF_ERROR(allow_shared_memory(kernel, kBytes));
      const auto blocks = static_cast<unsigned>(divide_up(input.num_rows, kPairRows));
      kernel<<<blocks, kPairThreads, kBytes, stream>>>(problem, gradients);
      return cudaGetLastError();
    }));
  }
  if (gradients.grad_center_logits != nullptr) {
    const dim3 grid(static_cast<unsigned>(input.num_anchors),
                    static_cast<unsigned>(divide_up(input.num_classes, kCenterStep)));
    const auto kernel = input.float_logits ? center_gradient_kernel<float, Element>
                                           : center_gradient_kernel<Element, Element>;
    kernel<<<grid, kAnchorThreads, 0, stream>>>(problem, gradients);
    PACO_RETURN_IF_ERROR(cudaGetLastError());
  }
  return cudaSuccess;
}

}  // namespace paco::cuda
