#include "build_info.h"

#include <c10/util/Exception.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/version.h>

#include <cstdint>
#include <sstream>
#include <stdexcept>

#include "kernels/argument_error.h"
#include "kernels/cpu/capability.h"

namespace paco {
namespace {

std::string minor_version(uint64_t major, uint64_t minor) {
  return std::to_string(major) + '.' + std::to_string(minor);
}

/// Refuses to be loaded by another PyTorch than the one compiled against, whose C++ ABI differs;
/// patch releases of a minor version share theirs.
/// Runs before the initializers that register operators. Thrown while a library is loaded, the
/// error ends the process with its message, unless the code that loads libpaco catches it.
[[gnu::constructor(101)]] void check_torch_version() {
  // TORCH_ABI_VERSION has this form: major and minor are the two highest bytes.
  const uint64_t abi_version = aoti_torch_abi_version();
  const std::string running = minor_version(abi_version >> 56, abi_version >> 48 & 0xff);
  const std::string built_for = minor_version(TORCH_VERSION_MAJOR, TORCH_VERSION_MINOR);
  if (running != built_for) {
    throw std::runtime_error("libpaco " PACO_VERSION " was built for PyTorch " + built_for +
                             ", but this process runs PyTorch " + running +
                             ": take the libpaco of PyTorch " + running +
                             ", rebuild it, or run it " + "with PyTorch " + built_for);
  }
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) {
    parts.push_back(part);
  }
  return parts;
}

std::string chosen_cpu_capability() {
  try {
    return cpu::capability_name();
  } catch (const ArgumentError& error) {
    TORCH_CHECK_VALUE(false, "build_info: ", error.what());
  }
}

}  // namespace

BuildInfo build_info() {
  return {
      .version = PACO_VERSION,
      .torch_version = TORCH_VERSION,
      .cuda_version = PACO_CUDA_VERSION,
      .compiler = PACO_COMPILER,
      .cxx11_abi = _GLIBCXX_USE_CXX11_ABI != 0,
      .cpu_capabilities = split(PACO_CPU_CAPABILITIES),
      .cpu_capability = chosen_cpu_capability(),
      .build_type = PACO_BUILD_TYPE,
  };
}

}  // namespace paco
