#pragma once

#include <cstdint>

// The logarithm of the normaliser of von Mises-Fisher distributions in D dimensions, for all
// arguments at once.
//
// With nu = D / 2 - 1, an offset a and w = sqrt(a^2 + x^2),
//
//     log I_nu(x) - nu log x = w - (nu + 1/2) log(a + w) + Q(a / w) + constant,
//     I_{nu+1}(x) / (x I_nu(x)) = H(a / w) / w
//
// where Q and H are smooth on [0, 1] for every nu, the ends included: they go over into Debye's
// uniform expansion for large nu, into Hankel's for large x, and are regular at x = 0. Short
// polynomials fitted at Chebyshev's nodes take their place.
namespace paco {

template <typename T>
constexpr int kVmfTerms = sizeof(T) == sizeof(double) ? 32 : 16;

// What a call computes with. The polynomials are of 2 a / w - 1, by ascending powers.
template <typename T>
struct VmfSeries {
  T offset;  // a
  T factor;  // nu + 1/2
  T value[kVmfTerms<T>];
  T slope[kVmfTerms<T>];
};

// D >= 2
template <typename T>
VmfSeries<T> vmf_series(int64_t dim);

extern template VmfSeries<float> vmf_series(int64_t dim);
extern template VmfSeries<double> vmf_series(int64_t dim);

}  // namespace paco
