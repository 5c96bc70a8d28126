#pragma once

#include <cstdint>

#include "element.h"

namespace paco {

// Up to this many dimensions a float of z . mu does not tell |kappa mu + z / T| well enough where
// the two are opposite: everything is computed in double.
constexpr bool vmf_computes_in_double(ElementType features, int64_t dim) {
  return features == ElementType::kFloat64 || dim <= 32;
}

// The logits of von Mises-Fisher classes as kernels see them; symbols are those of
// ops/vmf_logits.h. Matrices are dense and row-major, and lie on the device that computes.
struct VmfProblem {
  ElementType type;            // of features; everything else is of the type that sums are taken in
  const void* features;        // [A, D]
  const void* mean_direction;  // [C, D]
  const void* concentration;   // [C]
  int64_t num_anchors;         // A
  int64_t num_classes;         // C
  int64_t dim;                 // D
  double temperature;
};

// The forward pass writes these, of the type that sums are taken in.
struct VmfOutput {
  void* logits;  // [A, C]
  void* slope;  // [A, C], d s_ic / d z_i = slope_ic (kappa_c mu_c + z_i / T); null where not wanted
};

// The backward pass reads and writes these besides the problem.
struct VmfGradients {
  const void* grad_logits;  // [A, C]
  const void* slope;        // [A, C]
  void* grad_features;      // [A, D], of the type of features
};

}  // namespace paco
