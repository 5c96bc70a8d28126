#pragma once

#include <cstdint>

#include "../../integers.h"
#include "../../platform.h"

namespace paco::cuda {

constexpr int kMaxShares = 256;

// Arrays that the launches of the forward pass leave for the next, one after another in memory that
// the caller allocates; none needs an alignment beyond that of float. Those of shares are
// [share, A] or [share, A, D].
struct ForwardScratch {
  int num_shares;
  float* maximum;      // of p_ij log2(e); -infinity without a pair
  float* exp_sum;      // sum_j 2^(p_ij log2(e) - maximum)
  float* exp_rows;     // the same sum of 2^(...) z_j; null where no gradient is wanted
  int* class_counts;   // rows of the anchor's class; written for the first anchor of a class among
                       // the kPairRows of its block
  float* class_rows;   // their sum; written where the count is not 0
  float* anchor_loss;  // [A] l_i, weighted
  int64_t bytes;       // of all of them

  ForwardScratch(void* memory, int num_shares, int64_t num_anchors, int64_t dim, bool features_grad)
      : num_shares(num_shares) {
    const int64_t per_share = num_shares * num_anchors;
    auto* next = static_cast<float*>(memory);
    const auto take = [&](int64_t count) {
      float* const array = next;
      next += count;
      return array;
    };
    class_rows = take(per_share * dim);
    exp_rows = features_grad ? take(per_share * dim) : nullptr;
    maximum = take(per_share);
    exp_sum = take(per_share);
    class_counts = reinterpret_cast<int*>(take(per_share));
    anchor_loss = take(num_anchors);
    bytes = (next - static_cast<float*>(memory)) * static_cast<int64_t>(sizeof(float));
  }
};

}  // namespace paco::cuda
