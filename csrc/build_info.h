#pragma once

#include <string>
#include <vector>

#include "macros.h"

namespace paco {

/// How this libpaco was built, and what it uses of this processor.
struct BuildInfo {
  std::string version;                        ///< libpaco's version
  std::string torch_version;                  ///< PyTorch it was compiled against, e.g. "2.13.0"
  std::string cuda_version;                   ///< CUDA toolkit, empty without CUDA kernels
  std::string compiler;                       ///< e.g. "GNU 12.2.0"
  bool cxx11_abi;                             ///< whether std::string has libstdc++'s C++11 ABI
  std::vector<std::string> cpu_capabilities;  ///< instruction sets with kernels of their own
  std::string cpu_capability;                 ///< which of them is used here
  std::string build_type;                     ///< CMake's build type, e.g. "Release"
};

/// Throws c10::ValueError if the environment variable PACO_CPU_CAPABILITY names no instruction set.
PACO_API BuildInfo build_info();

}  // namespace paco
