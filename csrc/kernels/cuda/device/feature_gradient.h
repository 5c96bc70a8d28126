#pragma once

#include <cmath>
#include <cstdint>

#include "../../integers.h"
#include "anchor_source.h"
#include "pair_tiles.h"
#include "pair_weights.h"
#include "problem.h"
#include "reductions.h"

namespace paco::cuda {

// The largest size of an anchor's weight, the same on every thread; 1 where none is above 0.
// `board` is that of reduce_block.
template <typename Context>
PACO_DEVICE float largest_anchor_weight(Context& context, const DeviceProblem& problem,
                                        float* board) {
  const auto* const weights = problem.anchor_weight;
  if (weights == nullptr) return 1;
  float largest[1] = {0};
  for (int64_t i = context.thread(); i < problem.num_anchors; i += context.num_threads()) {
    largest[0] = fmaxf(largest[0], fabsf(weights[i]));
  }
  reduce_block<Maximum>(context, largest, board);
  return largest[0] > 0 ? largest[0] : 1.0f;
}

// One column of the in-batch block: an anchor, what its pairs are made of.
struct AnchorColumn {
  float log2_high;  // L_i log2(e), the sum of two; infinite where pair_scale is 0
  float log2_low;
  float pair_scale;      // gamma, weighted
  float positive_scale;  // alpha / W_i, weighted
  int64_t label;
  int own_row;  // the row of the block that is the anchor, which has no pair with itself; or -1
};

template <typename Product, int kDim>
struct GradientMemory : PairMemory<Product, kDim> {
  using Tiles = PairMemory<Product, kDim>;
  static constexpr int kBytes =
      Tiles::kBytes + 2 * Product::kColumns * static_cast<int>(sizeof(AnchorColumn));

  PACO_DEVICE AnchorColumn* anchors(int64_t tile) const {
    return reinterpret_cast<AnchorColumn*>(this->memory + Tiles::kBytes) +
           tile % 2 * Product::kColumns;
  }
};

// dl/dz_j = sum over anchors i of (dl/dp_ij) z_i / T, and for an anchor its own row on top.
template <typename Product, int kDim, typename Weights, typename Source, typename Context>
PACO_DEVICE void feature_gradient(Context& context, const DeviceProblem& problem,
                                  const PaCoLossGradients& gradients, const Weights& weights,
                                  const Source& source) {
  using Element = typename Product::Element;
  constexpr int kColumns = Product::kColumns;
  const GradientMemory<Product, kDim> memory{{context.shared_memory()}};
  const int lane = context.lane();
  const auto features = feature_rows<Element>(problem, problem.num_rows);
  const auto anchors = source.template rows<Element>(problem);
  const auto* const log_partition = gradients.log_partition;
  const auto* const pair_weights = static_cast<const float*>(gradients.pair_weight);
  const auto* const anchor_grad = static_cast<const float*>(gradients.anchor_grad);
  const float alpha = problem.alpha;
  const float gamma = problem.gamma;
  const int64_t first_row = context.block_x() * kPairRows;
  const int64_t num_tiles = divide_up(problem.num_anchors, kColumns);
  const float scale = static_cast<float>(kLog2E) / problem.temperature;

  // The unit of the weights of pairs, none of which is above the largest of an anchor. Comes first
  // because ptxas spills otherwise.
  float unit = 1;
  if constexpr (Product::kLog2WeightUnit > 0) {
    unit = context.exp2(Product::kLog2WeightUnit - 1) /
           largest_anchor_weight(context, problem, reinterpret_cast<float*>(memory.anchors(0)));
  }

  const int block_row = context.warp() * kWarpRows + lane / 4;
  int64_t row[2];
  int64_t row_label[2];
  ColumnWeights row_weights[2];
  PACO_UNROLL
  for (int r = 0; r < 2; ++r) {
    row[r] = first_row + block_row + 8 * r;
    row_label[r] = row[r] < features.num_rows ? problem.labels[row[r]] : -1;
    if constexpr (Weights::kGiven) {
      row_weights[r] = column_weights(weights, problem, row_label[r]);
    }
  }

  load_tile<kDim, kPairRows>(context, memory.rows(), features, first_row);
  load_tile<kDim, kColumns>(context, memory.columns(0), anchors, 0);
  context.commit_copies();

  float gradient[2][slots(kDim)] = {};
  for (int64_t tile = 0; tile < num_tiles; ++tile) {
    const int64_t first_column = tile * kColumns;
    if (tile + 1 < num_tiles) {
      load_tile<kDim, kColumns>(context, memory.columns(tile + 1), anchors,
                                first_column + kColumns);
    }
    context.commit_copies();
    for (int i = context.thread(); i < kColumns; i += context.num_threads()) {
      AnchorColumn column{INFINITY, 0, 0, 0, -1, -1};
      const int64_t anchor = first_column + i;
      if (anchor < problem.num_anchors) {
        column.own_row = place_in_tile<kPairRows>(source.row_of(problem, anchor) - first_row);
        const float pair_weight = pair_weights[anchor];
        const float weight = unit * anchor_scale(problem, pair_weight, anchor);
        if (pair_weight != 0) {
          column.pair_scale = weight * gamma;
          // Pairs without gamma are not in L, and exp(p - L) may be beyond any number.
          if (column.pair_scale != 0) {
            const Split log2_partition(log_partition[anchor] * kLog2E);
            column.log2_high = log2_partition.high;
            column.log2_low = log2_partition.low;
          }
          column.positive_scale = weight * (alpha / pair_weight);
          column.label = source.label(problem, anchor);
        }
      }
      memory.anchors(tile)[i] = column;
    }
    context.template wait_copies<1>();
    if (tile == 0) Product::template settle_tile<kDim, kPairRows>(context, memory.rows());
    Product::template settle_tile<kDim, kColumns>(context, memory.columns(tile));
    context.sync();

    float pairs[2][slots(kColumns)] = {};
    Product::template multiply_pairs<kDim>(
        context, memory.rows() + context.warp() * kWarpRows * TileLayout<Element, kDim>::kStride,
        memory.columns(tile), pairs);
    PACO_UNROLL
    for (int slot = 0; slot < slots(kColumns); ++slot) {
      const int column = Product::pair_column(slot, lane);
      const AnchorColumn anchor = memory.anchors(tile)[column];
      PACO_UNROLL
      for (int r = 0; r < 2; ++r) {
        float& pair = pairs[r][slot];
        const float exponential =
            context.exp2((context.multiply(pair, scale) - anchor.log2_high) - anchor.log2_low);
        pair = anchor.pair_scale * exponential;
        if constexpr (Weights::kGiven) {
          pair *= row_label[r] == anchor.label ? row_weights[r].own : row_weights[r].other;
        }
        if (row_label[r] == anchor.label) pair -= anchor.positive_scale;
        if (block_row + 8 * r == anchor.own_row) pair = 0;
      }
    }
    Product::template multiply_values<kDim>(context, pairs, memory.columns(tile), gradient);
    context.sync();
  }

  const float upstream = source.upstream(gradients) / source.divisor(problem);
  const float inverse_unit = 1 / unit;
  PACO_UNROLL
  for (int r = 0; r < 2; ++r) {
    if (row[r] >= features.num_rows) continue;
    const int64_t anchor = source.anchor_of(problem, row[r]);
    const bool is_anchor = anchor >= 0 && anchor < problem.num_anchors;
    const float weight = is_anchor ? anchor_scale(problem, pair_weights[anchor], anchor) : 0.0f;
    PACO_UNROLL
    for (int slot = 0; slot < slots(kDim); ++slot) {
      const int column = Product::value_column(slot, lane);
      if (column >= features.dim) continue;
      const int64_t at = row[r] * features.dim + column;
      float value = gradient[r][slot] * inverse_unit;
      if (is_anchor) value += weight * anchor_grad[at];
      context.assign(static_cast<Element*>(gradients.grad_features)[at], upstream * value);
    }
  }
}

}  // namespace paco::cuda
