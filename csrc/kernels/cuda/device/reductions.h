#pragma once

#include <cmath>

#include "../../platform.h"

namespace paco::cuda {

// Maximum and sum over a quad, the four lanes that share a row.
template <typename Context>
PACO_DEVICE float quad_maximum(Context& context, float value) {
  value = fmaxf(value, context.shuffle_xor(value, 1));
  return fmaxf(value, context.shuffle_xor(value, 2));
}
template <typename Context>
PACO_DEVICE float quad_sum(Context& context, float value) {
  value += context.shuffle_xor(value, 1);
  return value + context.shuffle_xor(value, 2);
}

struct Maximum {
  PACO_DEVICE static float combine(float a, float b) { return fmaxf(a, b); }
};
struct Sum {
  PACO_DEVICE static float combine(float a, float b) { return a + b; }
};

constexpr int kMaxWarps = 32;

// Reduces each of kCount numbers over the block, in a fixed order; every thread gets the results.
// `board` is kCount * kMaxWarps floats in shared memory.
template <typename Operation, int kCount, typename Context>
PACO_DEVICE void reduce_block(Context& context, float (&values)[kCount], float* board) {
  PACO_UNROLL
  for (int i = 0; i < kCount; ++i) {
    PACO_UNROLL
    for (int mask = 16; mask > 0; mask /= 2) {
      values[i] = Operation::combine(values[i], context.shuffle_xor(values[i], mask));
    }
    if (context.lane() == 0) board[i * kMaxWarps + context.warp()] = values[i];
  }
  context.sync();
  PACO_UNROLL
  for (int i = 0; i < kCount; ++i) {
    values[i] = board[i * kMaxWarps];
    for (int warp = 1; warp < context.num_threads() / 32; ++warp) {
      values[i] = Operation::combine(values[i], board[i * kMaxWarps + warp]);
    }
  }
  context.sync();
}

}  // namespace paco::cuda
