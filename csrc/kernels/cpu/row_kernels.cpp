// Compiled once for each instruction set (cmake/CpuCapabilities.cmake), the loops vectorised by the
// compiler. Nothing here may define an inline function outside the capability's namespace.

#include "row_kernels.h"

#include "exponential.h"

namespace paco::cpu::PACO_CPU_CAPABILITY {
namespace {

template <typename T>
T maximum(const T* x, int64_t size) {
  T result = x[0];
#pragma omp simd reduction(max : result)
  for (int64_t i = 0; i < size; ++i) result = x[i] > result ? x[i] : result;
  return result;
}

template <typename T>
T sum(const T* x, int64_t size) {
  T result = 0;
#pragma omp simd reduction(+ : result)
  for (int64_t i = 0; i < size; ++i) result += x[i];
  return result;
}

template <typename T>
T dot(const T* x, const T* y, int64_t size) {
  T result = 0;
#pragma omp simd reduction(+ : result)
  for (int64_t i = 0; i < size; ++i) result += x[i] * y[i];
  return result;
}

template <typename T>
T exp_sum(const T* x, int64_t size, T shift) {
  T result = 0;
#pragma omp simd reduction(+ : result)
  for (int64_t i = 0; i < size; ++i) result += exponential(x[i] - shift);
  return result;
}

template <typename T>
void exp_affine(T* out, const T* x, int64_t size, Split<T> shift, T scale, T offset) {
  // Long rows come from memory, and at the end of each page the processor's own prefetching starts
  // anew: a page ahead is asked for early.
  constexpr int64_t kPage = 4096 / sizeof(T);
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t first = 0; first < size; first += kLine) {
    __builtin_prefetch(x + first + kPage);
    __builtin_prefetch(out + first + kPage, 1);
    const int64_t last = size - first < kLine ? size : first + kLine;
#pragma omp simd
    for (int64_t i = first; i < last; ++i) {
      out[i] = scale * exponential((x[i] - shift.high) - shift.low) - offset;
    }
  }
}

template <typename T>
void add(double* sum, const T* x, int64_t size, double factor) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) sum[i] += factor * x[i];
}

template <typename T>
void subtract(T* out, const double* sum, const T* x, int64_t size, double factor) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) out[i] = static_cast<T>(sum[i] - factor * x[i]);
}

template <typename T>
void axpby(T* y, const T* x, int64_t size, T a, T b) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) y[i] = a * x[i] + b * y[i];
}

}  // namespace

#define PACO_ROW_KERNELS(T)     \
  {.maximum = maximum<T>,       \
   .sum = sum<T>,               \
   .dot = dot<T>,               \
   .exp_sum = exp_sum<T>,       \
   .exp_affine = exp_affine<T>, \
   .add = add<T>,               \
   .subtract = subtract<T>,     \
   .axpby = axpby<T>}
extern const RowKernels<float> float_row_kernels = PACO_ROW_KERNELS(float);
extern const RowKernels<double> double_row_kernels = PACO_ROW_KERNELS(double);

}  // namespace paco::cpu::PACO_CPU_CAPABILITY
