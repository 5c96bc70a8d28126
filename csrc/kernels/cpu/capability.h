#pragma once

// The instruction sets that the files *_kernels.cpp are compiled for, from the most common to the
// most capable. The fastest that the processor has is used, or the one that the environment
// variable PACO_CPU_CAPABILITY (default, avx2, avx512 or avx512_bf16), read once, names; where the
// processor lacks it, the best that it has.
//
// Seen by those translation units, so this header defines no function.

namespace paco::cpu {

// The instruction set that is used, as PACO_FOR_EACH_CPU_CAPABILITY spells it. Throws ArgumentError
// if PACO_CPU_CAPABILITY names none.
const char* capability_name();

}  // namespace paco::cpu

#if defined(__x86_64__)
#define PACO_FOR_EACH_CPU_CAPABILITY(macro) \
  macro(DEFAULT) macro(AVX2) macro(AVX512) macro(AVX512_BF16)
#else
#define PACO_FOR_EACH_CPU_CAPABILITY(macro) macro(DEFAULT)
#endif
