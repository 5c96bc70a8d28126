// paco._C: what Python needs of the C++ libraries beyond the operators, which torch.ops has.

#include <pybind11/pybind11.h>

#include "classifier.h"

PYBIND11_MODULE(_C, module) {
  module.doc() = "C++ classes with no operator behind them.";
  paco::python::add_classifier(module);
}
