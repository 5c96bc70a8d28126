#pragma once

#include <cstdint>

// The bodies of the kernels are written once, as templates over an execution context, and run in
// two places: on a GPU (device_context.cuh) and, with one thread for each CUDA thread, on the host
// (tests/cpp/cuda/host_context.h). What they are made of must compile for both.
#if defined(__CUDACC__)
#define PACO_DEVICE __device__ __forceinline__
#define PACO_HOST_DEVICE __host__ __device__ __forceinline__
#define PACO_UNROLL _Pragma("unroll")
#define PACO_UNROLL_BY_4 _Pragma("unroll 4")
#else
#define PACO_DEVICE inline
#define PACO_HOST_DEVICE inline
#define PACO_UNROLL
#define PACO_UNROLL_BY_4
#endif

namespace paco::cuda {

// Numbers of 16 bits as they lie in memory; a context converts them.
struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

// Four numbers that move as one.
struct alignas(16) Float4 {
  float value[4];
};

}  // namespace paco::cuda
