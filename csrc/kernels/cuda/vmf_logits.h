#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "../element.h"

// The CUDA kernel of vmf_logits: raw pointers on the current device, and a stream.
namespace paco::cuda {

// The numbers around the kernel, for a call that computes in double or in float; all but what is
// marked are of the type that sums are taken in.
struct VmfPairsProblem {
  bool in_double;
  ElementType sum_type;
  const void* products;       // [A, C], z . mu, of the type computed in
  const void* squares;        // [A], |z|^2 / T^2, of the type computed in
  const void* concentration;  // [C]
  void* logits;               // [A, C]
  void* slope;                // [A, C], null where not wanted
  int64_t num_anchors;
  int64_t num_classes;
  int64_t dim;
  double temperature;
};

// One launch on `stream`.
cudaError_t launch_vmf_pairs(const VmfPairsProblem& problem, cudaStream_t stream);

}  // namespace paco::cuda
