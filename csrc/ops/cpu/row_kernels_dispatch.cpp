#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "row_kernels.h"

namespace paco::cpu {
namespace {

enum class Capability { kDefault, kAvx2, kAvx512 };

Capability supported_capability() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return Capability::kAvx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Capability::kAvx2;
#endif
  return Capability::kDefault;
}

Capability requested_capability() {
  const char* const value = std::getenv("PACO_CPU_CAPABILITY");
  if (value == nullptr) return Capability::kAvx512;
  const std::string_view name(value);
  if (name == "default") return Capability::kDefault;
  if (name == "avx2") return Capability::kAvx2;
  TORCH_CHECK_VALUE(name == "avx512", "PACO_CPU_CAPABILITY must be default, avx2 or avx512, got ",
                    value);
  return Capability::kAvx512;
}

const Capability& capability() {
  static const Capability chosen = std::min(supported_capability(), requested_capability());
  return chosen;
}

}  // namespace

#define PACO_SELECT_ROW_KERNELS(type)           \
  template <>                                   \
  const RowKernels<type>& row_kernels<type>() { \
    switch (capability()) {                     \
      PACO_ROW_KERNELS_CASES(type)              \
      default:                                  \
        return DEFAULT::type##_kernels;         \
    }                                           \
  }
#if defined(__x86_64__)
#define PACO_ROW_KERNELS_CASES(type) \
  case Capability::kAvx512:          \
    return AVX512::type##_kernels;   \
  case Capability::kAvx2:            \
    return AVX2::type##_kernels;
#else
#define PACO_ROW_KERNELS_CASES(type)
#endif
PACO_SELECT_ROW_KERNELS(float)
PACO_SELECT_ROW_KERNELS(double)

}  // namespace paco::cpu
