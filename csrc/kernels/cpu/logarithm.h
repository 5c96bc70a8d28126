#pragma once

// log1p() in a form that compilers vectorise. Included only by what is compiled once for each
// instruction set, so all of it lies in the capability's namespace.

#include <cstdint>

namespace paco::cpu::PACO_CPU_CAPABILITY {

// 2 atanh(f) / f - 2, by powers of f^2, for |f| below .172.
inline float atanh_tail(float f2) {
  return f2 * (2.F / 3 + f2 * (2.F / 5 + f2 * (2.F / 7 + f2 * (2.F / 9))));
}
inline double atanh_tail(double f2) {
  const double high = 2. / 13 + f2 * (2. / 15 + f2 * (2. / 17 + f2 * (2. / 19 + f2 * (2. / 21))));
  return f2 * (2. / 3 + f2 * (2. / 5 + f2 * (2. / 7 + f2 * (2. / 9 + f2 * (2. / 11 + f2 * high)))));
}

// The number without its power of two, between sqrt(1/2) and sqrt(2), and that power. Adding the
// integer to the bits of 2^52 makes it a number without a conversion that AVX2 lacks.
inline float split_power(float number, float& power) {
  constexpr uint32_t kRootHalf = 0x3f3504f3;
  const uint32_t bits = __builtin_bit_cast(uint32_t, number) + (0x3f800000U - kRootHalf);
  power = static_cast<float>(static_cast<int32_t>(bits >> 23) - 127);
  return __builtin_bit_cast(float, (bits & 0x7fffffU) + kRootHalf);
}
inline double split_power(double number, double& power) {
  constexpr uint64_t kRootHalf = 0x3fe6a09e667f3bcd;
  const uint64_t bits = __builtin_bit_cast(uint64_t, number) + (0x3ff0000000000000U - kRootHalf);
  power = __builtin_bit_cast(double, (bits >> 52) | 0x4330000000000000U) - 4503599627371519.0;
  return __builtin_bit_cast(double, (bits & 0xfffffffffffffU) + kRootHalf);
}

// log(1 + x) for x > -1, to a few units in the last place, also of a small x: what 1 + x rounds
// away of it is added to the logarithm. Where x is no such number the result means nothing.
template <typename T>
inline T log1p(T x) {
  const T sum = 1 + x;
  const T rounded_away = x - (sum - 1);
  T power;
  const T m = split_power(sum, power);
  const T f = (m - 1) / (m + 1);
  return power * static_cast<T>(0.6931471805599453) +
         (f * (2 + atanh_tail(f * f)) + rounded_away / sum);
}

}  // namespace paco::cpu::PACO_CPU_CAPABILITY
