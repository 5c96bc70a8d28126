#pragma once

// Included only by what is compiled once for each instruction set.

#include <cstdint>

namespace paco::cpu::PACO_CPU_CAPABILITY {

// The bits of the bfloat16 number next to x, to even between two.
inline uint32_t bfloat16_bits(float x) {
  const auto word = __builtin_bit_cast(uint32_t, x);
  const uint32_t rounded = (word + 0x7fff + (word >> 16 & 1)) >> 16;
  return x == x ? rounded : 0x7fc0;  // rounding could carry a NaN to infinity or zero
}

}  // namespace paco::cpu::PACO_CPU_CAPABILITY
