#pragma once

// exp() in a form that compilers vectorise. Included only by what is compiled once for each
// instruction set, so all of it lies in the capability's namespace.

#include <cstdint>

namespace paco::cpu::PACO_CPU_CAPABILITY {

// exp(x) for x <= 0, give or take rounding: what is exponentiated had a maximum or the logarithm of
// its sum subtracted. exp(-infinity) is NaN: it only ever comes from an input that was not finite,
// and must not pass for a small number. Far above 0 (88 for float) the result means nothing.
//
// x = n log 2 + r with |r| <= log(2) / 2, then 2^n times a polynomial of r. Relative error below 2
// units in the last place.
inline float exponential(float x) {
  constexpr float kLog2E = 1.44269504088896341F;
  constexpr float kLog2High = 0.693359375F;  // few enough bits that n * kLog2High is exact
  constexpr float kLog2Low = -2.12194440e-4F;
  constexpr float kSmallest = -88.0F;  // n is -127 here, whose power of two has the bits of 0
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
  constexpr float kRound = 12582912.0F;
  const float clamped = kSmallest > x ? kSmallest : x;  // in this order one instruction
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
      __builtin_bit_cast(float, (__builtin_bit_cast(uint32_t, shifted) << 23) + 0x3f800000U);
  return p * power + (x - x);
}

inline double exponential(double x) {
  return x == -__builtin_huge_val() ? __builtin_nan("") : __builtin_exp(x);
}

}  // namespace paco::cpu::PACO_CPU_CAPABILITY
