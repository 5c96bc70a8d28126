#pragma once

#include <cstdint>

#include "element.h"

namespace paco {

// Features on their way into the running means of their classes; see ops/class_mean_update.h.
// Everything is dense.
struct ClassMeanProblem {
  ElementType mean_type;  // float32 or float64
  ElementType feature_type;
  void* class_mean;       // [C, D], written
  int64_t* class_count;   // [C], written
  const void* features;   // [N, D]
  const int64_t* labels;  // [N]
  int64_t num_classes;    // C
  int64_t num_rows;       // N
  int64_t dim;            // D
};

}  // namespace paco
