#pragma once

#include <cmath>
#include <cstdint>

#include "../../integers.h"
#include "anchor_source.h"
#include "forward_scratch.h"
#include "pair_tiles.h"
#include "pair_weights.h"
#include "problem.h"
#include "reductions.h"

namespace paco::cuda {

// The tiles, and of each column at work what its exponentials weigh.
template <typename Product, int kDim, typename Weights>
struct StreamMemory : PairMemory<Product, kDim> {
  using Tiles = PairMemory<Product, kDim>;
  static constexpr int kBytes =
      Tiles::kBytes +
      (Weights::kGiven ? Product::kColumns * static_cast<int>(sizeof(ColumnWeights)) : 0);

  PACO_DEVICE ColumnWeights* column_weights() const {
    return reinterpret_cast<ColumnWeights*>(this->memory + Tiles::kBytes);
  }
};

// Running maximum, sum and weighted rows of exp p_ij, for the 64 anchors of the block and its share
// of the columns: rows of features, then of the queue.
template <typename Product, int kDim, typename Weights, typename Source, typename Context>
PACO_DEVICE void stream_pairs(Context& context, const DeviceProblem& problem,
                              const ForwardScratch& scratch, const Weights& weights,
                              const Source& source) {
  using Element = typename Product::Element;
  constexpr int kColumns = Product::kColumns;
  constexpr float kWeightUnit = 1 << static_cast<int>(Product::kLog2WeightUnit);
  const StreamMemory<Product, kDim, Weights> memory{{context.shared_memory()}};
  const auto* const features = static_cast<const Element*>(problem.features);
  const auto* const queue = static_cast<const Element*>(problem.queue);
  const int dim = problem.dim;
  const int lane = context.lane();
  const int64_t num_anchors = problem.num_anchors;
  const int64_t first_anchor = context.block_x() * kPairRows;
  const int64_t share = context.block_y();
  const float scale = static_cast<float>(kLog2E) / problem.temperature;

  // The tiles of this share. A tile is of the features or of the queue, never of both.
  const int64_t queue_rows = valid_queue_rows(problem);
  const int64_t feature_tiles = divide_up(problem.num_rows, kColumns);
  const int64_t num_tiles = feature_tiles + divide_up(queue_rows, kColumns);
  const int64_t tiles_per_share = divide_up(num_tiles, scratch.num_shares);
  const int64_t begin = smaller(share * tiles_per_share, num_tiles);
  const int64_t end = smaller(begin + tiles_per_share, num_tiles);
  const auto load_columns = [&](int64_t tile) {
    const bool is_queue = tile >= feature_tiles;
    const Rows<Element> rows{is_queue ? queue : features, is_queue ? queue_rows : problem.num_rows,
                             dim};
    load_tile<kDim, kColumns>(context, memory.columns(tile), rows,
                              (is_queue ? tile - feature_tiles : tile) * kColumns);
  };

  if (begin < end) {
    load_tile<kDim, kPairRows>(context, memory.rows(), source.template rows<Element>(problem),
                               first_anchor);
    load_columns(begin);
    context.commit_copies();
  }

  int row_label[2] = {-2, -2};  // of no column
  if constexpr (Weights::kGiven) {
    PACO_UNROLL
    for (int r = 0; r < 2; ++r) {
      const int64_t anchor = first_anchor + context.warp() * kWarpRows + lane / 4 + 8 * r;
      if (anchor < num_anchors) row_label[r] = static_cast<int>(source.label(problem, anchor));
    }
  }

  // The lane has two rows. Sums and poisons are over the lane's own columns until the end.
  float maximum[2] = {-INFINITY, -INFINITY};
  float exp_sum[2] = {0, 0};
  float poison[2] = {0, 0};
  float exp_rows[2][slots(kDim)] = {};

  for (int64_t tile = begin; tile < end; ++tile) {
    if (tile + 1 < end) load_columns(tile + 1);
    context.commit_copies();
    context.template wait_copies<1>();
    if (tile == begin) Product::template settle_tile<kDim, kPairRows>(context, memory.rows());
    const Element* const columns = memory.columns(tile);
    Product::template settle_tile<kDim, kColumns>(context, memory.columns(tile));
    const bool is_queue = tile >= feature_tiles;
    const int64_t first_column = (is_queue ? tile - feature_tiles : tile) * kColumns;
    const int64_t num_columns = (is_queue ? queue_rows : problem.num_rows) - first_column;
    if constexpr (Weights::kGiven) {
      const auto* const labels = (is_queue ? problem.queue_labels : problem.labels) + first_column;
      for (int i = context.thread(); i < kColumns; i += context.num_threads()) {
        memory.column_weights()[i] =
            i < num_columns ? column_weights(weights, problem, labels[i]) : ColumnWeights{};
      }
    }
    context.sync();

    float pairs[2][slots(kColumns)] = {};
    Product::template multiply_pairs<kDim>(
        context, memory.rows() + context.warp() * kWarpRows * TileLayout<Element, kDim>::kStride,
        columns, pairs);

    // Columns past the end take no part, nor does the pair of an anchor with itself.
    const bool has_self =
        !is_queue && (Source::kGathered || (first_column < first_anchor + kPairRows &&
                                            first_column + kColumns > first_anchor));
    const bool masked = has_self || num_columns < kColumns;
    PACO_UNROLL
    for (int r = 0; r < 2; ++r) {
      const int64_t anchor = first_anchor + context.warp() * kWarpRows + lane / 4 + 8 * r;
      int self = -1;
      if (has_self) self = place_in_tile<kColumns>(source.row_of(problem, anchor) - first_column);
      float tile_maximum = -INFINITY;
      PACO_UNROLL
      for (int slot = 0; slot < slots(kColumns); ++slot) {
        float& pair = pairs[r][slot];
        poison[r] = fmaf(pair, 0.0f, poison[r]);
        if (masked) {
          const int column = Product::pair_column(slot, lane);
          if (column == self || column >= num_columns) pair = -INFINITY;
        }
        tile_maximum = fmaxf(tile_maximum, pair);
      }
      // A logit, in units of log 2, is rounded once: maximum, exponential and backward pass see one
      // number.
      const float new_maximum =
          fmaxf(maximum[r], context.multiply(quad_maximum(context, tile_maximum), scale));
      // An anchor without any pair so far has no maximum to subtract.
      const float shift = new_maximum == -INFINITY ? 0.0f : new_maximum;
      const float rescale = context.exp2(maximum[r] - shift);
      maximum[r] = new_maximum;
      exp_sum[r] *= rescale;
      PACO_UNROLL
      for (int slot = 0; slot < slots(kColumns); ++slot) {
        float exponential = context.exp2(context.multiply(pairs[r][slot], scale) - shift);
        if constexpr (Weights::kGiven) {
          exponential *=
              memory.column_weights()[Product::pair_column(slot, lane)].with(row_label[r]);
        }
        exp_sum[r] += exponential;
        pairs[r][slot] = exponential * kWeightUnit;
      }
      PACO_UNROLL
      for (int slot = 0; slot < slots(kDim); ++slot) exp_rows[r][slot] *= rescale;
    }
    if (scratch.exp_rows != nullptr) {
      Product::template multiply_values<kDim>(context, pairs, columns, exp_rows);
    }
    context.sync();  // the next but one tile goes where this one is
  }

  PACO_UNROLL
  for (int r = 0; r < 2; ++r) {
    const float sum = quad_sum(context, exp_sum[r] + poison[r]);
    const int64_t anchor = first_anchor + context.warp() * kWarpRows + lane / 4 + 8 * r;
    if (anchor >= num_anchors) continue;
    const int64_t at = share * num_anchors + anchor;
    if (lane % 4 == 0) {
      scratch.maximum[at] = maximum[r];
      scratch.exp_sum[at] = sum;
    }
    if (scratch.exp_rows != nullptr) {
      PACO_UNROLL
      for (int slot = 0; slot < slots(kDim); ++slot) {
        const int column = Product::value_column(slot, lane);
        if (column < dim)
          scratch.exp_rows[at * dim + column] = exp_rows[r][slot] * (1 / kWeightUnit);
      }
    }
  }
}

}  // namespace paco::cuda
