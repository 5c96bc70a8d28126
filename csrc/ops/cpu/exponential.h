#pragma once

// exp() in a form that compilers vectorise. Included only by what is compiled once for each
// instruction set, so all of it lies in the capability's namespace.

#include <cstdint>

namespace paco::cpu::PACO_CPU_CAPABILITY {

// It differs from the library's in one way: exp(-infinity) is NaN. What is exponentiated had its
// finite maximum subtracted, so minus infinity only ever comes from an input that was not finite,
// and must not pass for a small number.
//
// x = n log 2 + r with |r| <= log(2) / 2, then 2^n times a polynomial of r. Relative error below 2
// units in the last place.
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
  return x < kSmallest ? x - x : result;
}

inline double exponential(double x) {
  return x == -__builtin_huge_val() ? __builtin_nan("") : __builtin_exp(x);
}

}  // namespace paco::cpu::PACO_CPU_CAPABILITY
