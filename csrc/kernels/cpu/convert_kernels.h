#pragma once

#include <cstdint>

#include "../element.h"
#include "capability.h"

// Numbers of 16 bits to float and back, rounded to nearest even, compiled once for each instruction
// set. This header is seen by those translation units, so it defines no function.
namespace paco::cpu {

struct ConvertKernels {
  void (*from_float16)(float* out, const Float16* in, int64_t size);
  void (*from_bfloat16)(float* out, const BFloat16* in, int64_t size);
  void (*to_float16)(Float16* out, const float* in, int64_t size);
  void (*to_bfloat16)(BFloat16* out, const float* in, int64_t size);
};

// The kernels of the best instruction set: see capability.h.
const ConvertKernels& convert_kernels();

#define PACO_DECLARE_CONVERT_KERNELS(capability)             \
  namespace capability {                                     \
  extern const ConvertKernels convert_kernels_of_capability; \
  }
PACO_FOR_EACH_CPU_CAPABILITY(PACO_DECLARE_CONVERT_KERNELS)
#undef PACO_DECLARE_CONVERT_KERNELS

}  // namespace paco::cpu
