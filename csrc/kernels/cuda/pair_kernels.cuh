#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <type_traits>

#include "device/anchor_source.h"
#include "device/class_sums.h"
#include "device/feature_gradient.h"
#include "device/launch_sizes.h"
#include "device/pair_stream.h"
#include "device/pair_weights.h"
#include "device_context.cuh"
#include "return_if_error.h"

// The kernels of paco_loss that multiply pairs, and their launches, for one product. Every product
// is instantiated in a translation unit of its own, so that they compile side by side.
namespace paco::cuda {

// Blocks of the pair kernels that a multiprocessor has registers for: what ptxas is held to. Left
// alone it aims at more, and spills.
constexpr int resident_pair_blocks(int dim) { return dim <= 128 ? 3 : 2; }

template <typename Product, int kDim, typename Weights, typename Source>
__global__ void __launch_bounds__(kPairThreads, resident_pair_blocks(kDim))
    stream_columns_kernel(const DeviceProblem problem, const ForwardScratch scratch,
                          const Weights weights, const Source source) {
  DeviceContext<kPairThreads> context;
  if (blockIdx.z == 0) {
    stream_pairs<Product, kDim>(context, problem, scratch, weights, source);
  } else {
    sum_classes<typename Product::Element>(context, problem, scratch, source);
  }
}

template <typename Product, int kDim, typename Weights, typename Source>
__global__ void __launch_bounds__(kPairThreads, resident_pair_blocks(kDim))
    feature_gradient_kernel(const DeviceProblem problem, const PaCoLossGradients gradients,
                            const Weights weights, const Source source) {
  DeviceContext<kPairThreads> context;
  feature_gradient<Product, kDim>(context, problem, gradients, weights, source);
}

// Calls `body` with the smallest tile that holds `dim` features.
template <typename Body>
cudaError_t with_tile(int64_t dim, const Body& body) {
  if (dim <= 64) return body(std::integral_constant<int, 64>{});
  if (dim <= 128) return body(std::integral_constant<int, 128>{});
  return body(std::integral_constant<int, kMaxDim>{});
}

// Calls `body` with where the anchors come from.
template <typename Body>
cudaError_t with_source(const PaCoLossProblem& problem, const Body& body) {
  return problem.share.anchors == nullptr ? body(FirstRows{}) : body(GatheredAnchors(problem));
}

// Calls `body` with the smallest tile that holds the features, the weights of the pairs, and where
// the anchors come from.
template <typename Body>
cudaError_t with_tile_weights_source(const PaCoLossProblem& problem, const Body& body) {
  return with_tile(problem.dim, [&](auto tile) {
    return with_source(problem, [&](auto source) {
      return problem.class_counts == nullptr
                 ? body(tile, EqualWeights{}, source)
                 : body(tile, ClassWeights{problem.class_counts}, source);
    });
  });
}

// A block gets more than 48 KB of shared memory only after this.
template <typename Kernel>
cudaError_t allow_shared_memory(Kernel* kernel, int bytes) {
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

template <typename Product>
struct PairKernels {
  // Whether the tiles for `dim` features fit into the shared memory of a block.
  static cudaError_t supported(int64_t dim, int shared_memory_per_block, bool& result);

  // How many shares of columns keep the current device busy.
  static cudaError_t plan(const PaCoLossProblem& problem, int& num_shares);

  static cudaError_t stream_columns(const PaCoLossProblem& problem, const ForwardScratch& scratch,
                                    cudaStream_t stream);

  static cudaError_t feature_gradient(const PaCoLossProblem& problem,
                                      const PaCoLossGradients& gradients, cudaStream_t stream);
};

template <typename Product>
cudaError_t PairKernels<Product>::supported(int64_t dim, int shared_memory_per_block,
                                            bool& result) {
  return with_tile(dim, [&](auto tile) {
    using Memory = LaunchMemory<Product, decltype(tile)::value, ClassWeights>;  // the larger
    result = Memory::kStreamColumns <= shared_memory_per_block &&
             Memory::kFeatureGradient <= shared_memory_per_block;
    return cudaSuccess;
  });
}

template <typename Product>
cudaError_t PairKernels<Product>::plan(const PaCoLossProblem& problem, int& num_shares) {
  return with_tile_weights_source(problem, [&](auto tile, auto weights, auto source) {
    constexpr int kDim = decltype(tile)::value;
    using Weights = decltype(weights);
    const auto kernel = stream_columns_kernel<Product, kDim, Weights, decltype(source)>;
    constexpr int kBytes = LaunchMemory<Product, kDim, Weights>::kStreamColumns;
    PACO_RETURN_IF_ERROR(allow_shared_memory(kernel, kBytes));
    int device = 0;
    int multiprocessors = 0;
    int blocks = 0;
    PACO_RETURN_IF_ERROR(cudaGetDevice(&device));
    PACO_RETURN_IF_ERROR(
        cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
    PACO_RETURN_IF_ERROR(
        cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, kPairThreads, kBytes));
    // One of several processes may have no column.
    const int64_t num_columns = std::max<int64_t>(problem.num_rows + problem.queue_rows, 1);
    num_shares = choose_num_shares(problem.num_anchors, num_columns,
                                   static_cast<int64_t>(multiprocessors) * blocks);
    return cudaSuccess;
  });
}

template <typename Product>
cudaError_t PairKernels<Product>::stream_columns(const PaCoLossProblem& problem,
                                                 const ForwardScratch& scratch,
                                                 cudaStream_t stream) {
  return with_tile_weights_source(problem, [&](auto tile, auto weights, auto source) {
    constexpr int kDim = decltype(tile)::value;
    using Weights = decltype(weights);
    constexpr int kBytes = LaunchMemory<Product, kDim, Weights>::kStreamColumns;
    const dim3 grid(static_cast<unsigned>(divide_up(problem.num_anchors, kPairRows)),
                    static_cast<unsigned>(scratch.num_shares), 2);
    stream_columns_kernel<Product, kDim>
        <<<grid, kPairThreads, kBytes, stream>>>(DeviceProblem(problem), scratch, weights, source);
    return cudaGetLastError();
  });
}

template <typename Product>
cudaError_t PairKernels<Product>::feature_gradient(const PaCoLossProblem& problem,
                                                   const PaCoLossGradients& gradients,
                                                   cudaStream_t stream) {
  return with_tile_weights_source(problem, [&](auto tile, auto weights, auto source) {
    constexpr int kDim = decltype(tile)::value;
    using Weights = decltype(weights);
    constexpr int kBytes = LaunchMemory<Product, kDim, Weights>::kFeatureGradient;
    const auto kernel = feature_gradient_kernel<Product, kDim, Weights, decltype(source)>;
    PACO_RETURN_IF_ERROR(allow_shared_memory(kernel, kBytes));
    const auto blocks = static_cast<unsigned>(divide_up(problem.num_rows, kPairRows));
    kernel<<<blocks, kPairThreads, kBytes, stream>>>(backward_problem(problem, gradients),
                                                     gradients, weights, source);
    return cudaGetLastError();
  });
}

extern template struct PairKernels<FloatProduct>;
extern template struct PairKernels<Tf32Product>;
extern template struct PairKernels<HalfProduct<Float16>>;
extern template struct PairKernels<HalfProduct<BFloat16>>;

}  // namespace paco::cuda
