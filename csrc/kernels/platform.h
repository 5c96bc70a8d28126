#pragma once

// Kernel bodies are templates over an execution context and run in two places: on a GPU
// (cuda/device_context.cuh) and, with a fibre for each CUDA thread, on the host (host_context.h in
// the tests). These macros let both compilers take them.
#if defined(__CUDACC__)
#define PACO_DEVICE __device__ __forceinline__
#define PACO_HOST_DEVICE __host__ __device__ __forceinline__
#define PACO_UNROLL _Pragma("unroll")
#define PACO_UNROLL_BY_4 _Pragma("unroll 4")
#else
#define PACO_DEVICE inline
#define PACO_HOST_DEVICE inline __attribute__((always_inline))
#define PACO_UNROLL
#define PACO_UNROLL_BY_4
#endif
