#include "capability.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>
#include <string_view>

#include "../argument_error.h"
#include "convert_kernels.h"
#include "row_kernels.h"
#include "tile_kernels.h"
#include "vmf_kernels.h"

namespace paco::cpu {
namespace {

// Places in PACO_FOR_EACH_CPU_CAPABILITY.
constexpr std::array<std::string_view, 4> kNames{"default", "avx2", "avx512", "avx512_bf16"};

size_t supported_capability() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) {
    return 1;
  }
  return __builtin_cpu_supports("avx512bf16") ? 3 : 2;
#else
  return 0;
#endif
}

// The fastest that the processor has. AMD's Zen 4 multiplies bfloat16 faster than float, Intel's
// Xeon does not: there rows are converted.
size_t fastest_capability() {
  const size_t supported = supported_capability();
#if defined(__x86_64__)
  if (supported == 3 && !__builtin_cpu_is("amd")) return 2;
#endif
  return supported;
}

size_t chosen_capability() {
  const char* const value = std::getenv("PACO_CPU_CAPABILITY");
  if (value == nullptr) return fastest_capability();
  const auto* const name = std::find(kNames.begin(), kNames.end(), value);
  if (name == kNames.end()) {
    throw ArgumentError("PACO_CPU_CAPABILITY must be default, avx2, avx512 or avx512_bf16, got " +
                        std::string(value));
  }
  return std::min<size_t>(supported_capability(), name - kNames.begin());
}

// The place of the one that is used.
size_t capability() {
  static const size_t place = chosen_capability();
  return place;
}

template <typename Kernels>
const Kernels& choose(std::initializer_list<const Kernels*> by_capability) {
  return **(by_capability.begin() + capability());
}

}  // namespace

#define PACO_NAME(capability) #capability,

const char* capability_name() {
  static constexpr std::array kSpelled{PACO_FOR_EACH_CPU_CAPABILITY(PACO_NAME)};
  return kSpelled[capability()];
}

#define PACO_FLOAT_ROWS(capability) &capability::float_row_kernels,
#define PACO_DOUBLE_ROWS(capability) &capability::double_row_kernels,
#define PACO_FLOAT_TILES(capability) &capability::float_tile_kernels,
#define PACO_DOUBLE_TILES(capability) &capability::double_tile_kernels,
#define PACO_FLOAT_VMF(capability) &capability::float_vmf_kernels,
#define PACO_DOUBLE_VMF(capability) &capability::double_vmf_kernels,
#define PACO_CONVERSIONS(capability) &capability::convert_kernels_of_capability,
#define PACO_PAIRS(capability) &capability::pair_kernels,

template <>
const RowKernels<float>& row_kernels() {
  return choose({PACO_FOR_EACH_CPU_CAPABILITY(PACO_FLOAT_ROWS)});
}
template <>
const RowKernels<double>& row_kernels() {
  return choose({PACO_FOR_EACH_CPU_CAPABILITY(PACO_DOUBLE_ROWS)});
}
template <>
const TileKernels<float>& tile_kernels() {
  return choose({PACO_FOR_EACH_CPU_CAPABILITY(PACO_FLOAT_TILES)});
}
template <>
const TileKernels<double>& tile_kernels() {
  return choose({PACO_FOR_EACH_CPU_CAPABILITY(PACO_DOUBLE_TILES)});
}
template <>
const VmfKernels<float>& vmf_kernels() {
  return choose({PACO_FOR_EACH_CPU_CAPABILITY(PACO_FLOAT_VMF)});
}
template <>
const VmfKernels<double>& vmf_kernels() {
  return choose({PACO_FOR_EACH_CPU_CAPABILITY(PACO_DOUBLE_VMF)});
}
const ConvertKernels& convert_kernels() {
  return choose({PACO_FOR_EACH_CPU_CAPABILITY(PACO_CONVERSIONS)});
}
const BFloat16PairKernels* bfloat16_pair_kernels() {
  return choose({PACO_FOR_EACH_CPU_CAPABILITY(PACO_PAIRS)});
}

}  // namespace paco::cpu
