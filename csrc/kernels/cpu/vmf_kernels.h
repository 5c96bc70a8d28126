#pragma once

#include <cstdint>

#include "../vmf_series.h"
#include "capability.h"

// Rows of the logits of von Mises-Fisher classes, compiled once for each instruction set. This
// header is seen by those translation units, so it defines no function.
namespace paco::cpu {

// Terms that the logits of a class have in common, an array of the classes for each.
template <typename T>
struct VmfClasses {
  T* pull;    // 2 kappa / T: the gain from a unit of z . mu
  T* radius;  // w
  T* value;   // Q(a / w)
};

template <typename T>
struct VmfKernels {
  void (*classes)(VmfClasses<T> out, const VmfSeries<T>& series, const T* concentration,
                  int64_t size, T temperature);
  // Products z . mu with the classes become logits; `slope` may be null.
  void (*logits)(T* products, T* slope, const VmfSeries<T>& series, VmfClasses<T> classes,
                 int64_t size, T square, T temperature);
  // out = gradient * slope * concentration; returns the sum of gradient * slope.
  T (*weigh)(T* out, const T* gradient, const T* slope, const T* concentration, int64_t size);
};

// The kernels of the best instruction set: see capability.h.
template <typename T>
const VmfKernels<T>& vmf_kernels();

#define PACO_DECLARE_VMF_KERNELS(capability)          \
  namespace capability {                              \
  extern const VmfKernels<float> float_vmf_kernels;   \
  extern const VmfKernels<double> double_vmf_kernels; \
  }
PACO_FOR_EACH_CPU_CAPABILITY(PACO_DECLARE_VMF_KERNELS)
#undef PACO_DECLARE_VMF_KERNELS

}  // namespace paco::cpu
