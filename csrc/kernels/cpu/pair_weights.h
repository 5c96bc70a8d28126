#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "../paco_loss_problem.h"
#include "tile_kernels.h"

namespace paco::cpu {

// The weights of the exponentials of BCL's pairs, 1 / n of the column's class, or 1 / (n - 1) where
// the anchor is of that class too. Exponentials are weighed, not logits shifted: a logarithm would
// be rounded away beside a large logit.
template <typename T>
class PairWeights {
 public:
  explicit PairWeights(const int64_t* class_counts) : counts_(class_counts) {}

  T of_others(int64_t label) const { return 1 / static_cast<T>(counts_[label]); }

  // For columns along the rows of a tile. An anchor's class has at least its own row and its
  // prototype; no lane has a class of one column.
  std::vector<RowFactor<T>> of_columns(const int64_t* labels, int64_t size) const {
    std::vector<RowFactor<T>> factors(size);
    for (int64_t r = 0; r < size; ++r) {
      const int64_t count = counts_[labels[r]];
      factors[r] = {static_cast<int32_t>(labels[r]), 1 / static_cast<T>(count - 1),
                    1 / static_cast<T>(count)};
    }
    return factors;
  }

  // For anchors along the rows of a tile, times n of the class of the column.
  std::vector<RowFactor<T>> of_anchors(const int64_t* labels, int64_t size) const {
    std::vector<RowFactor<T>> factors(size);
    for (int64_t r = 0; r < size; ++r) {
      const auto count = static_cast<T>(counts_[labels[r]]);
      factors[r] = {static_cast<int32_t>(labels[r]), count / (count - 1), 1};
    }
    return factors;
  }

 private:
  const int64_t* counts_;
};

// Labels of the lanes of a tile, and a class that no row has beyond them.
template <int64_t kSize>
std::array<int32_t, kSize> lane_labels(const int64_t* labels, int64_t size) {
  std::array<int32_t, kSize> result;
  result.fill(-1);
  for (int64_t lane = 0; lane < size; ++lane) result[lane] = static_cast<int32_t>(labels[lane]);
  return result;
}

}  // namespace paco::cpu
