#pragma once

#include <cstdint>

#include "../../platform.h"
#include "problem.h"

// The weight of a pair's exponential in the denominator. The kernels of pairs are compiled for
// each of the two, so that PaCo's pay nothing for BCL's.
namespace paco::cuda {

// PaCo: 1.
struct EqualWeights {
  static constexpr bool kGiven = false;
};

// BCL: 1 / n of the column's class, 1 / (n - 1) where the anchor is of that class too.
struct ClassWeights {
  static constexpr bool kGiven = true;
  const int64_t* class_counts;
};

// The weights of a column, or of a row as the column of anchors.
struct ColumnWeights {
  int label = -1;  // of no anchor
  float own = 0;
  float other = 0;

  PACO_DEVICE float with(int anchor_label) const { return anchor_label == label ? own : other; }
};

// sum_classes reports a label out of range; nobody reads beyond the counts. An anchor's class has
// two rows at least, and a class of one row meets no anchor of its own.
PACO_DEVICE ColumnWeights column_weights(const ClassWeights& weights, const DeviceProblem& problem,
                                         int64_t label) {
  if (label < 0 || label >= problem.num_classes) return {};
  const auto count = static_cast<float>(weights.class_counts[label]);
  return {static_cast<int>(label), 1 / (count - 1), 1 / count};
}

}  // namespace paco::cuda
