// paco._C: what Python needs of libpaco beyond torch.ops. Importing it loads libpaco.

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "../build_info.h"

namespace py = pybind11;

namespace {

py::dict build_info() {
  const paco::BuildInfo info = paco::build_info();
  py::dict result;
  result["version"] = info.version;
  result["torch_version"] = info.torch_version;
  result["cuda_version"] = info.cuda_version;
  result["compiler"] = info.compiler;
  result["cxx11_abi"] = info.cxx11_abi;
  result["cpu_capabilities"] = info.cpu_capabilities;
  result["build_type"] = info.build_type;
  return result;
}

}  // namespace

PYBIND11_MODULE(_C, module) { module.def("build_info", &build_info, "How libpaco was built."); }
