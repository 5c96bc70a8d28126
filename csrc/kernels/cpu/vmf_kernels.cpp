// Compiled once for each instruction set (cmake/CpuCapabilities.cmake), the loops vectorised by the
// compiler. Nothing here may define an inline function outside the capability's namespace.

#include "vmf_kernels.h"

#include "../vmf_element.h"
#include "logarithm.h"

namespace paco::cpu::PACO_CPU_CAPABILITY {
namespace {

struct Machine {
  static float sqrt(float x) { return __builtin_sqrtf(x); }
  static double sqrt(double x) { return __builtin_sqrt(x); }
  template <typename T>
  static T log1p(T x) {
    return PACO_CPU_CAPABILITY::log1p(x);
  }
};

template <typename T>
void classes(VmfClasses<T> out, const VmfSeries<T>& series, const T* concentration, int64_t size,
             T temperature) {
#pragma omp simd
  for (int64_t c = 0; c < size; ++c) {
    const T radius = vmf_class_radius<Machine>(series, concentration[c]);
    out.pull[c] = 2 * concentration[c] / temperature;
    out.radius[c] = radius;
    out.value[c] = vmf_value<Machine>(series, radius);
  }
}

template <bool kSlope, typename T>
void logits_of_row(T* products, T* slope, const VmfSeries<T>& series, VmfClasses<T> classes,
                   int64_t size, T square, T temperature) {
#pragma omp simd
  for (int64_t c = 0; c < size; ++c) {
    const T gain = classes.pull[c] * products[c] + square;
    const T radius = vmf_radius<Machine>(series, classes.radius[c], gain);
    products[c] = vmf_logit<Machine>(series, classes.radius[c], classes.value[c], gain, radius);
    if constexpr (kSlope) slope[c] = vmf_slope<Machine>(series, radius, temperature);
  }
}

template <typename T>
void logits(T* products, T* slope, const VmfSeries<T>& series, VmfClasses<T> classes, int64_t size,
            T square, T temperature) {
  slope == nullptr
      ? logits_of_row<false>(products, slope, series, classes, size, square, temperature)
      : logits_of_row<true>(products, slope, series, classes, size, square, temperature);
}

template <typename T>
T weigh(T* out, const T* gradient, const T* slope, const T* concentration, int64_t size) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t c = 0; c < size; ++c) {
    const T weight = gradient[c] * slope[c];
    out[c] = weight * concentration[c];
    sum += weight;
  }
  return sum;
}

}  // namespace

#define PACO_VMF_KERNELS(T) {.classes = classes<T>, .logits = logits<T>, .weigh = weigh<T>}
extern const VmfKernels<float> float_vmf_kernels = PACO_VMF_KERNELS(float);
extern const VmfKernels<double> double_vmf_kernels = PACO_VMF_KERNELS(double);

}  // namespace paco::cpu::PACO_CPU_CAPABILITY
