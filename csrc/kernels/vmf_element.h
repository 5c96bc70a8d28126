#pragma once

#include "platform.h"
#include "vmf_series.h"

// One logit of a von Mises-Fisher class, for CPU and GPU alike. Functions are templates over the
// machine that runs them, which brings sqrt() and log1p(); compiled for several instruction sets,
// each has functions of its own.
namespace paco {

// c[kFirst] + c[kFirst + 1] u + ..., unrolled.
template <typename Machine, int kFirst = 0, typename T>
PACO_HOST_DEVICE T vmf_polynomial(const T* c, T u) {
  if constexpr (kFirst == kVmfTerms<T> - 1) {
    return c[kFirst];
  } else {
    return vmf_polynomial<Machine, kFirst + 1>(c, u) * u + c[kFirst];
  }
}

// w of kappa, and below of kappa~ from the square of w and what a feature adds to it,
//   gain = kappa~^2 - kappa^2 = |z|^2 / T^2 + 2 kappa z . mu / T
// Rounding must not take kappa~ below 0; NaN stays NaN.
template <typename Machine, typename T>
PACO_HOST_DEVICE T vmf_class_radius(const VmfSeries<T>& series, T concentration) {
  return Machine::sqrt(series.offset * series.offset + concentration * concentration);
}
template <typename Machine, typename T>
PACO_HOST_DEVICE T vmf_radius(const VmfSeries<T>& series, T class_radius, T gain) {
  const T least = series.offset * series.offset;
  const T square = class_radius * class_radius + gain;
  return Machine::sqrt(square < least ? least : square);
}

// Q(a / w)
template <typename Machine, typename T>
PACO_HOST_DEVICE T vmf_value(const VmfSeries<T>& series, T radius) {
  return vmf_polynomial<Machine>(series.value, 2 * (series.offset / radius) - 1);
}

// H(a / w~) / (T w~), times kappa mu + z / T the gradient
template <typename Machine, typename T>
PACO_HOST_DEVICE T vmf_slope(const VmfSeries<T>& series, T radius, T temperature) {
  return vmf_polynomial<Machine>(series.slope, 2 * (series.offset / radius) - 1) /
         (radius * temperature);
}

// The difference of two large logarithms without what they have in common:
//   w~ - w = gain / (w~ + w),   log (a + w~) / (a + w) = log1p((w~ - w) / (a + w))
template <typename Machine, typename T>
PACO_HOST_DEVICE T vmf_logit(const VmfSeries<T>& series, T class_radius, T class_value, T gain,
                             T radius) {
  const T step = gain / (radius + class_radius);
  return step - series.factor * Machine::log1p(step / (series.offset + class_radius)) +
         (vmf_value<Machine>(series, radius) - class_value);
}

}  // namespace paco
