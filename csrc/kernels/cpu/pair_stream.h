#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "../parallel_for.h"
#include "columns.h"
#include "pair_weights.h"
#include "products.h"
#include "row_kernels.h"

namespace paco::cpu {

constexpr int64_t kAnchorBlock = 128;
static_assert(kAnchorBlock % kLanes == 0);

template <typename T>
constexpr T kMinusInfinity = -std::numeric_limits<T>::infinity();

// The maximum before there is a pair. Finite, even less another maximum, as exponential.h wants it.
template <typename T>
constexpr T kNoPair = std::numeric_limits<T>::lowest() / 4;

// The online softmax of all anchors over all columns, whose exponentials are weighed where there
// are class counts.
//
// Each thread has a group of anchors. Where there are too few anchors for that, the columns of a
// group are split among threads: each split has sums of its own, which join() adds up in order.
template <typename T>
class PairStream {
 public:
  // `rows`, [A, D], receives sum_j exp(p_ij - maximum) z_j; null where no gradient is needed.
  PairStream(const PaCoLossProblem& problem, const std::vector<Segment>& segments, T* rows,
             const Threads& threads)
      : problem_(problem),
        anchors_(anchor_matrix(problem)),
        num_anchors_(problem.num_anchors),
        dim_(problem.dim),
        temperature_(static_cast<T>(problem.temperature)),
        segments_(segments),
        rows_(rows) {
    for (const Segment& segment : segments) num_columns_ += segment.rows.size;
    group_ = std::max(divide_up(num_anchors_, threads.count), kAnchorBlock);
    const int64_t groups = divide_up(num_anchors_, group_);
    // A column less than the lanes of a register is not worth a thread.
    splits_ = std::clamp<int64_t>(divide_up(threads.count, groups), 1,
                                  std::max<int64_t>(divide_up(num_columns_, kLanes), 1));
    maximum_.assign(splits_ * num_anchors_, kNoPair<T>);
    exp_sum_.assign(splits_ * num_anchors_, 0);
    // Split 0 adds into `rows` itself.
    if (rows != nullptr) split_rows_.resize((splits_ - 1) * num_anchors_ * dim_);
    dispatch_products<T>(segments[0].rows.type, [&]<typename Products>() {
      threads.parallel_for(0, groups * splits_, /*grain_size=*/1, [&](int64_t begin, int64_t end) {
        for (int64_t task = begin; task < end; ++task) {
          add_group<Products>(task / splits_ * group_, task % splits_);
        }
      });
    });
  }

  struct Sum {
    T maximum = kMinusInfinity<T>;
    double exp_sum = 0;  // sum_j exp(p_ij - maximum)
  };

  // The sum of all splits; leaves the rows of anchor i relative to the same maximum.
  Sum join(int64_t i) {
    T maximum = maximum_[i];
    for (int64_t split = 1; split < splits_; ++split) {
      maximum = std::max(maximum, maximum_[split * num_anchors_ + i]);
    }
    double exp_sum = 0;
    for (int64_t split = 0; split < splits_; ++split) {
      const int64_t at = split * num_anchors_ + i;
      const T rescale = maximum_[at] == maximum ? T(1) : std::exp(maximum_[at] - maximum);
      exp_sum += exp_sum_[at] * rescale;
      if (rows_ != nullptr && splits_ > 1) {
        const bool first = split == 0;
        row_kernels<T>().axpby(rows_ + i * dim_, rows_of(split) + i * dim_, dim_,
                               first ? 0 : rescale, first ? rescale : 1);
      }
    }
    return {exp_sum == 0 ? kMinusInfinity<T> : maximum, exp_sum};
  }

 private:
  T* rows_of(int64_t split) {
    return split == 0 ? rows_ : split_rows_.data() + (split - 1) * num_anchors_ * dim_;
  }

  template <typename Products>
  void add_group(int64_t first_anchor, int64_t split) {
    const int64_t last_anchor = std::min(first_anchor + group_, num_anchors_);
    std::vector<Lanes<typename Products::Number>> blocks;
    for (int64_t i = first_anchor; i < last_anchor; i += kAnchorBlock) {
      const int64_t size = std::min(kAnchorBlock, last_anchor - i);
      blocks.push_back(Products::lanes(anchors_.narrow(i, size)));
    }
    Products products;
    bool first_tile = true;
    for (const Tile& tile : cut_into_tiles(segments_, num_columns_ * split / splits_,
                                           num_columns_ * (split + 1) / splits_)) {
      products.set_rows(tile.rows());
      int64_t i = first_anchor;
      for (const auto& block : blocks) {
        add_block(i, split, tile, products, block, first_tile);
        i += block.size;
      }
      first_tile = false;
    }
  }

  template <typename Products>
  void add_block(int64_t first_anchor, int64_t split, const Tile& tile, Products& products,
                 const Lanes<typename Products::Number>& lanes, bool first_tile) {
    const int64_t size = lanes.size;
    const int64_t stride = lanes.stride();
    T* const logits = products.logits(lanes, 1 / temperature_);
    T* const maximum = maximum_.data() + split * num_anchors_ + first_anchor;
    double* const exp_sum = exp_sum_.data() + split * num_anchors_ + first_anchor;
    std::array<T, kAnchorBlock> new_maximum{};
    std::array<T, kAnchorBlock> rescale{};
    std::array<T, kAnchorBlock> tile_sum;
    std::copy_n(maximum, size, new_maximum.begin());

    // An anchor is no column of its own: its logit is that of the next column, once more, until the
    // sum has been taken.
    const auto for_each_self = [&](const auto& visit) {
      if (!tile.segment->holds_anchors) return;
      for (int64_t lane = 0; lane < size; ++lane) {
        const int64_t row = problem_.row_of(first_anchor + lane) - tile.begin;
        if (row >= 0 && row < tile.size) visit(row, lane);
      }
    };
    for_each_self([&](int64_t row, int64_t lane) {
      const int64_t next = (row + 1) % tile.size;
      logits[row * stride + lane] =
          tile.size > 1 ? logits[next * stride + lane] : kMinusInfinity<T>;
    });
    const auto& kernels = tile_kernels<T>();
    kernels.lane_softmax(logits, stride, tile.size, lanes.width(), new_maximum.data(),
                         tile_sum.data());
    for_each_self([&](int64_t row, int64_t lane) {
      T& exponential = logits[row * stride + lane];
      tile_sum[lane] = tile.size > 1 ? tile_sum[lane] - exponential : 0;
      exponential = 0;
    });
    if (problem_.class_counts != nullptr) {
      const auto factors = pair_weights<T>(problem_.class_counts, tile.labels(), tile.size);
      const auto labels =
          lane_labels<kAnchorBlock>(problem_.labels_of_anchors() + first_anchor, size);
      kernels.lane_weigh(logits, stride, tile.size, lanes.width(), factors.data(), labels.data(),
                         tile_sum.data());
    }

    for (int64_t i = 0; i < size; ++i) rescale[i] = maximum[i] - new_maximum[i];
    row_kernels<T>().exp_affine(rescale.data(), rescale.data(), lanes.width(), {0, 0}, 1, 0);
    for (int64_t i = 0; i < size; ++i) {
      maximum[i] = new_maximum[i];
      exp_sum[i] = exp_sum[i] * rescale[i] + tile_sum[i];
    }
    if (rows_ == nullptr) return;
    T* const rows = rows_of(split) + first_anchor * dim_;
    for (int64_t i = 0; i < size; ++i) {
      if (first_tile || rescale[i] == 1) continue;
      row_kernels<T>().axpby(rows + i * dim_, rows + i * dim_, dim_, 0, rescale[i]);
    }
    products.weigh_rows(rows, size, /*accumulate=*/!first_tile);
  }

  const PaCoLossProblem& problem_;
  Rows anchors_;
  int64_t num_anchors_;
  int64_t dim_;
  T temperature_;
  const std::vector<Segment>& segments_;
  T* rows_;
  int64_t num_columns_ = 0;
  int64_t group_;                // anchors of a group
  int64_t splits_;               // of the columns of a group
  std::vector<T> maximum_;       // [splits, A] running maximum of p_ij
  std::vector<double> exp_sum_;  // [splits, A]
  std::vector<T> split_rows_;    // [splits - 1, A, D]
};

}  // namespace paco::cpu
