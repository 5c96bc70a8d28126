// Compiled once for each instruction set (cmake/CpuCapabilities.cmake). Nothing here may define an
// inline function outside the capability's namespace.

#include "convert_kernels.h"

#include "bfloat16.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace paco::cpu::PACO_CPU_CAPABILITY {
namespace {

float widen(Float16 x) {
  const uint32_t magnitude = x.bits & 0x7fffU;
  // The bits of the exponent in their place; the product sets its bias right, of subnormal numbers
  // too.
  auto bits = __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, magnitude << 13) * 0x1p112F);
  bits |= magnitude >= 0x7c00 ? 0x7f800000U : 0;  // infinity or NaN
  return __builtin_bit_cast(float, bits | (x.bits & 0x8000U) << 16);
}

Float16 narrow(float x) {
  const auto word = __builtin_bit_cast(uint32_t, x);
  const uint32_t sign = word >> 16 & 0x8000;
  const uint32_t magnitude = word & 0x7fffffff;
  uint32_t result = 0;
  if (magnitude > 0x7f800000) {
    result = 0x7e00;
  } else if (magnitude >= 0x477ff000) {  // rounds to 65536
    result = 0x7c00;
  } else if (magnitude < 0x38800000) {
    // Subnormal: next to 0.5 float has the resolution of such numbers.
    const float shifted = __builtin_bit_cast(float, magnitude) + 0.5F;
    result = __builtin_bit_cast(uint32_t, shifted) - 0x3f000000;
  } else {
    result = (magnitude - (112U << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
  }
  return {static_cast<uint16_t>(sign | result)};
}

void from_float16(float* out, const Float16* in, int64_t size) {
  int64_t i = 0;
#if defined(__F16C__)
  for (; i + 8 <= size; i += 8) {
    __m128i numbers;
    __builtin_memcpy(&numbers, in + i, sizeof(numbers));
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(numbers));
  }
#endif
  for (; i < size; ++i) out[i] = widen(in[i]);
}

void to_float16(Float16* out, const float* in, int64_t size) {
  int64_t i = 0;
#if defined(__F16C__)
  for (; i + 8 <= size; i += 8) {
    const __m128i numbers = _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT);
    __builtin_memcpy(out + i, &numbers, sizeof(numbers));
  }
#endif
  for (; i < size; ++i) out[i] = narrow(in[i]);
}

void from_bfloat16(float* out, const BFloat16* in, int64_t size) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) {
    out[i] = __builtin_bit_cast(float, uint32_t{in[i].bits} << 16);
  }
}

void to_bfloat16(BFloat16* out, const float* in, int64_t size) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) out[i].bits = static_cast<uint16_t>(bfloat16_bits(in[i]));
}

}  // namespace

extern const ConvertKernels convert_kernels_of_capability = {
    .from_float16 = from_float16,
    .from_bfloat16 = from_bfloat16,
    .to_float16 = to_float16,
    .to_bfloat16 = to_bfloat16,
};

}  // namespace paco::cpu::PACO_CPU_CAPABILITY
