#pragma once

#include <cstdint>

#include "../../integers.h"
#include "class_sums.h"
#include "feature_gradient.h"
#include "forward_scratch.h"
#include "pair_stream.h"
#include "pair_tiles.h"

namespace paco::cuda {

// Number of shares into which the forward pass divides the columns, so that anchor blocks times
// shares keep every multiprocessor busy. Time goes with the waves of blocks times the columns of a
// share, plus what a share costs by itself: loading the anchors, leaving its sums. The blocks of
// sum_classes do not count: they come last, multiply nothing, and take the places that the others
// leave.
inline int choose_num_shares(int64_t num_anchors, int64_t num_columns, int64_t resident_blocks) {
  constexpr int64_t kUnit = 128;  // columns; a share of less is not worth its sums
  // Rows are added up in units: a longer float sum, one after another, has rounded too often.
  constexpr int64_t kMaxShare = 256;
  const int64_t anchor_blocks = divide_up(num_anchors, kPairRows);
  const int64_t units = divide_up(num_columns, kUnit);
  int64_t best_shares = smaller(divide_up(units, kMaxShare), kMaxShares);
  int64_t best_cost = INT64_MAX;
  for (int64_t shares = best_shares; shares <= smaller(units, kMaxShares); ++shares) {
    const int64_t waves = divide_up(anchor_blocks * shares, resident_blocks);
    const int64_t cost = waves * (divide_up(units, shares) + 1);
    if (cost < best_cost) {
      best_cost = cost;
      best_shares = shares;
    }
  }
  return static_cast<int>(best_shares);
}

// Dynamic shared memory of the two launches whose size depends on the product and its tile.
template <typename Product, int kDim, typename Weights>
struct LaunchMemory {
  // stream_pairs and sum_classes share a launch.
  static constexpr int kStreamColumns = StreamMemory<Product, kDim, Weights>::kBytes >
                                                class_memory_bytes(kDim)
                                            ? StreamMemory<Product, kDim, Weights>::kBytes
                                            : class_memory_bytes(kDim);
  static constexpr int kFeatureGradient = GradientMemory<Product, kDim>::kBytes;
};

}  // namespace paco::cuda
