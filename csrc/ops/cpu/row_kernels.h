#pragma once

#include <cstdint>

// Elementwise loops and reductions over one row of numbers, compiled once for each instruction set.
// This header is seen by those translation units, so it defines no function.
namespace paco::cpu {

// exp() here differs from the library's in one way: exp(-infinity) is NaN. Rows are exponentiated
// after their finite maximum was subtracted, so minus infinity only ever comes from an input that
// was not finite, and must not pass for a small number.
template <typename T>
struct RowKernels {
  T (*maximum)(const T* x, int64_t size);
  T (*sum)(const T* x, int64_t size);
  T (*dot)(const T* x, const T* y, int64_t size);
  // x = exp(x - shift); returns the sum of the new x.
  T (*exp_in_place)(T* x, int64_t size, T shift);
  // sum of exp(x - shift)
  T (*exp_sum)(const T* x, int64_t size, T shift);
  // out = scale * exp(x - shift) - offset
  void (*exp_affine)(T* out, const T* x, int64_t size, T shift, T scale, T offset);
  // y = a x + b y
  void (*axpby)(T* y, const T* x, int64_t size, T a, T b);
};

// The kernels of the best instruction set that this processor has. The environment variable
// PACO_CPU_CAPABILITY (default, avx2 or avx512) caps the choice; it is read once.
template <typename T>
const RowKernels<T>& row_kernels();

#if defined(__x86_64__)
#define PACO_FOR_EACH_CPU_CAPABILITY(macro) macro(DEFAULT) macro(AVX2) macro(AVX512)
#else
#define PACO_FOR_EACH_CPU_CAPABILITY(macro) macro(DEFAULT)
#endif

#define PACO_DECLARE_ROW_KERNELS(capability)      \
  namespace capability {                          \
  extern const RowKernels<float> float_kernels;   \
  extern const RowKernels<double> double_kernels; \
  }
PACO_FOR_EACH_CPU_CAPABILITY(PACO_DECLARE_ROW_KERNELS)
#undef PACO_DECLARE_ROW_KERNELS

}  // namespace paco::cpu
