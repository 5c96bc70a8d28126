#pragma once

#include <cstdint>

#include "element.h"

// Balanced contrastive learning as the CPU's kernels see it. Symbols are those of ops/bcl_loss.h.
namespace paco {

// Matrices are dense and row-major, but for the rows of the queue. Pointers of absent arguments are
// null.
struct BCLLossProblem {
  ElementType type;                       // float32 or float64, of all rows
  const void* features;                   // [M, D]
  const int64_t* labels;                  // [M]
  const void* prototypes;                 // [C, D]
  const void* queue = nullptr;            // [K, D]
  const int64_t* queue_labels = nullptr;  // [K]
  const int64_t* num_valid = nullptr;     // [1], how many rows of the queue are valid; null: all
  int64_t num_rows;                       // M
  int64_t num_classes;                    // C
  int64_t queue_rows = 0;                 // K
  int64_t queue_stride = 0;               // from a row of the queue to the next, in elements
  int64_t dim;                            // D
  double temperature;
};

// Of the type of the rows.
struct BCLLossOutput {
  void* loss;      // []
  void* gradient;  // [M + C, D] of the loss to features and prototypes; null where not wanted
};

}  // namespace paco
