// Compiled once for each instruction set (cmake/CpuCapabilities.cmake), the loops vectorised by the
// compiler. Nothing here may define an inline function outside the capability's namespace.

#include "row_kernels.h"

namespace paco::cpu::PACO_CPU_CAPABILITY {
namespace {

// exp(x) for float: x = n log 2 + r with |r| <= log(2) / 2, then 2^n times a polynomial of r.
// Relative error below 2 units in the last place.
inline float exponential(float x) {
  constexpr float kLog2E = 1.44269504088896341F;
  constexpr float kLog2High = 0.693359375F;  // few enough bits that n * kLog2High is exact
  constexpr float kLog2Low = -2.12194440e-4F;
  constexpr float kSmallest = -87.33F;  // below, the result would be subnormal: 0
  constexpr float kLargest = 88.37F;    // above, 2^n overflows
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
  constexpr float kRound = 12582912.0F;
  float clamped = x < kSmallest ? kSmallest : x;
  clamped = clamped > kLargest ? kLargest : clamped;
  const float shifted = clamped * kLog2E + kRound;
  const float n = shifted - kRound;
  const float r = (clamped - n * kLog2High) - n * kLog2Low;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = (p * r) * r + r + 1.0F;
  const auto power =
      __builtin_bit_cast(float, (__builtin_bit_cast(int32_t, shifted) << 23) + 0x3f800000);
  float result = p * power;
  result = x > kLargest ? __builtin_huge_valf() : result;
  return x < kSmallest ? x * 0.0F : result;
}

inline double exponential(double x) {
  return x == -__builtin_huge_val() ? __builtin_nan("") : __builtin_exp(x);
}

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
T exp_in_place(T* x, int64_t size, T shift) {
  T result = 0;
#pragma omp simd reduction(+ : result)
  for (int64_t i = 0; i < size; ++i) {
    x[i] = exponential(x[i] - shift);
    result += x[i];
  }
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
void exp_affine(T* out, const T* x, int64_t size, T shift, T scale, T offset) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) out[i] = scale * exponential(x[i] - shift) - offset;
}

template <typename T>
void axpby(T* y, const T* x, int64_t size, T a, T b) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) y[i] = a * x[i] + b * y[i];
}

}  // namespace

#define PACO_ROW_KERNELS(T)         \
  {.maximum = maximum<T>,           \
   .sum = sum<T>,                   \
   .dot = dot<T>,                   \
   .exp_in_place = exp_in_place<T>, \
   .exp_sum = exp_sum<T>,           \
   .exp_affine = exp_affine<T>,     \
   .axpby = axpby<T>}
extern const RowKernels<float> float_kernels = PACO_ROW_KERNELS(float);
extern const RowKernels<double> double_kernels = PACO_ROW_KERNELS(double);

}  // namespace paco::cpu::PACO_CPU_CAPABILITY
