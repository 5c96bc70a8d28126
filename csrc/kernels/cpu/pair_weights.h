#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "tile_kernels.h"

namespace paco::cpu {

// The weights of the exponentials of BCL's pairs for columns along the rows of a tile: 1 / n of the
// column's class, or 1 / (n - 1) where the anchor is of that class too. An anchor's class has at
// least its own row and its prototype; no lane has a class of one column. Exponentials are weighed,
// not logits shifted: a logarithm would be rounded away beside a large logit.
template <typename T>
std::vector<RowFactor<T>> pair_weights(const int64_t* class_counts, const int64_t* labels,
                                       int64_t size) {
  std::vector<RowFactor<T>> factors(size);
  for (int64_t r = 0; r < size; ++r) {
    const auto count = static_cast<T>(class_counts[labels[r]]);
    factors[r] = {static_cast<int32_t>(labels[r]), 1 / (count - 1), 1 / count};
  }
  return factors;
}

// The same for anchors along the rows of a tile, without the 1 / n of the column, which is left to
// the sum over the anchors.
template <typename T>
std::vector<RowFactor<T>> anchor_pair_weights(const int64_t* class_counts, const int64_t* labels,
                                              int64_t size) {
  std::vector<RowFactor<T>> factors(size);
  for (int64_t r = 0; r < size; ++r) {
    const auto count = static_cast<T>(class_counts[labels[r]]);
    factors[r] = {static_cast<int32_t>(labels[r]), count / (count - 1), 1};
  }
  return factors;
}

// Labels of the lanes of a tile, and a class that no row has beyond them.
template <int64_t kSize>
std::array<int32_t, kSize> lane_labels(const int64_t* labels, int64_t size) {
  std::array<int32_t, kSize> result;
  result.fill(-1);
  for (int64_t lane = 0; lane < size; ++lane) result[lane] = static_cast<int32_t>(labels[lane]);
  return result;
}

}  // namespace paco::cpu
