#pragma once

#include <pybind11/pybind11.h>

namespace paco::python {

/// Classifier, Prediction and ImageResult.
void add_classifier(pybind11::module_& module);

}  // namespace paco::python
