#include "build_info.h"

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/headeronly/version.h>

#include <cstdint>
#include <sstream>
#include <stdexcept>

namespace paco {
namespace {

/// Undoes TORCH_ABI_VERSION: major, minor and patch are its three highest bytes.
std::string version_string(uint64_t abi_version) {
  std::ostringstream text;
  text << (abi_version >> 56 & 0xff) << '.' << (abi_version >> 48 & 0xff) << '.'
       << (abi_version >> 40 & 0xff);
  return text.str();
}

/// Refuses to be loaded by another PyTorch than the one compiled against, whose C++ ABI differs.
/// Runs before the initializers that register operators. Thrown while a library is loaded, the
/// error ends the process with its message, unless the code that loads libpaco catches it.
[[gnu::constructor(101)]] void check_torch_version() {
  const std::string running = version_string(aoti_torch_abi_version());
  if (running != TORCH_VERSION) {
    throw std::runtime_error("libpaco " PACO_VERSION " was built for PyTorch " TORCH_VERSION
                             ", but this process runs PyTorch " +
                             running + ": rebuild libpaco against PyTorch " + running +
                             ", or run it with PyTorch " TORCH_VERSION);
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

}  // namespace

BuildInfo build_info() {
  return {
      .version = PACO_VERSION,
      .torch_version = TORCH_VERSION,
      .cuda_version = PACO_CUDA_VERSION,
      .compiler = PACO_COMPILER,
      .cxx11_abi = _GLIBCXX_USE_CXX11_ABI != 0,
      .cpu_capabilities = split(PACO_CPU_CAPABILITIES),
      .build_type = PACO_BUILD_TYPE,
  };
}

}  // namespace paco
