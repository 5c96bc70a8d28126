#pragma once

#include <cstdint>

#include "capability.h"

// Elementwise loops and reductions over one row of numbers, compiled once for each instruction set.
// This header is seen by those translation units, so it defines no function.
namespace paco::cpu {

// A number of double as the sum of two of T: x - high - low knows differences that x - T(number)
// would round away.
template <typename T>
struct Split {
  T high;
  T low;
};

// exp() is that of exponential.h.
template <typename T>
struct RowKernels {
  T (*maximum)(const T* x, int64_t size);
  T (*sum)(const T* x, int64_t size);
  T (*dot)(const T* x, const T* y, int64_t size);
  // sum of exp(x - shift)
  T (*exp_sum)(const T* x, int64_t size, T shift);
  // out = scale * exp(x - shift) - offset
  void (*exp_affine)(T* out, const T* x, int64_t size, Split<T> shift, T scale, T offset);
  // sum += factor * x
  void (*add)(double* sum, const T* x, int64_t size, double factor);
  // out = sum - factor * x
  void (*subtract)(T* out, const double* sum, const T* x, int64_t size, double factor);
  // y = a x + b y
  void (*axpby)(T* y, const T* x, int64_t size, T a, T b);
};

// The kernels of the best instruction set: see capability.h.
template <typename T>
const RowKernels<T>& row_kernels();

#define PACO_DECLARE_ROW_KERNELS(capability)          \
  namespace capability {                              \
  extern const RowKernels<float> float_row_kernels;   \
  extern const RowKernels<double> double_row_kernels; \
  }
PACO_FOR_EACH_CPU_CAPABILITY(PACO_DECLARE_ROW_KERNELS)
#undef PACO_DECLARE_ROW_KERNELS

}  // namespace paco::cpu
