#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "../bcl_loss_problem.h"
#include "../parallel_for.h"
#include "aligned_vector.h"
#include "check_values.h"
#include "class_sums.h"
#include "columns.h"
#include "pair_stream.h"
#include "pair_weights.h"
#include "products.h"
#include "row_kernels.h"

// The softmax of BCL's pairs and its gradient, strip of anchors by strip.
namespace paco::cpu {

// The columns of every anchor: features, prototypes, valid rows of the queue.
struct BCLColumns {
  std::vector<int64_t> classes;  // [C] 0, 1, ..., the labels of the prototypes
  std::vector<int64_t> counts;   // [C] n_c
  std::vector<Segment> segments;
  int64_t kept = 0;  // columns with a gradient: features and prototypes
  int64_t size = 0;

  // Checks the values on the way.
  explicit BCLColumns(const BCLLossProblem& problem)
      : classes(problem.num_classes),
        counts(problem.num_classes, 1),
        kept(problem.num_rows + problem.num_classes) {
    const int64_t dim = problem.dim;
    const bool has_queue = problem.queue != nullptr;
    const int64_t valid = has_queue ? checked_valid_rows(problem.num_valid, problem.queue_rows) : 0;
    check_labels("labels", problem.labels, problem.num_rows, problem.num_classes);
    check_labels("queue_labels", problem.queue_labels, valid, problem.num_classes);
    std::iota(classes.begin(), classes.end(), 0);
    for (int64_t j = 0; j < problem.num_rows; ++j) ++counts[problem.labels[j]];
    for (int64_t j = 0; j < valid; ++j) ++counts[problem.queue_labels[j]];
    segments = {{{problem.features, problem.type, problem.num_rows, dim, dim},
                 problem.labels,
                 /*holds_anchors=*/true},
                {{problem.prototypes, problem.type, problem.num_classes, dim, dim},
                 classes.data(),
                 /*holds_anchors=*/false}};
    if (has_queue) {
      segments.push_back({{problem.queue, problem.type, valid, dim, problem.queue_stride},
                          problem.queue_labels,
                          /*holds_anchors=*/false});
    }
    size = kept + valid;
  }

  const Rows& features() const { return segments[0].rows; }
  bool is_kept(const Tile& tile) const { return tile.segment - segments.data() < 2; }
  // The first of the tile among the kept columns.
  int64_t position(const Tile& tile) const {
    return tile.begin + (tile.segment->holds_anchors ? 0 : features().size);
  }
};

// A part of the columns, which one thread works on: its own online softmax of a strip.
template <typename T>
struct BCLPart {
  using Lane = std::array<T, kAnchorBlock>;

  std::vector<Tile> tiles;
  std::vector<Lane> tile_maximum;  // [tiles] that the exponentials of a tile are relative to
  Lane maximum;
  std::array<double, kAnchorBlock> exp_sum;
  AlignedVector<T> rows;  // [128, D] sum_j w_ij exp(p_ij - maximum) z_j
};

template <typename T>
class BCLStrips {
 public:
  BCLStrips(const BCLLossProblem& problem, const BCLColumns& columns, T* gradient,
            const Threads& threads)
      : columns_(columns),
        gradient_(gradient),
        threads_(threads),
        inverse_temperature_(1 / static_cast<T>(problem.temperature)),
        scale_(1 / (static_cast<double>(problem.num_rows) * problem.temperature)),
        dim_(problem.dim),
        stride_(tile_stride(std::min(problem.num_rows, kAnchorBlock))),
        parts_(std::clamp<int64_t>(threads.count, 1, divide_up(columns.size, kLanes))) {
    const auto count = static_cast<int64_t>(parts_.size());
    for (int64_t s = 0; s < count; ++s) {
      parts_[s].tiles = cut_into_tiles(columns.segments, columns.size * s / count,
                                       columns.size * (s + 1) / count);
      parts_[s].tile_maximum.resize(parts_[s].tiles.size());
      if (gradient != nullptr) parts_[s].rows.resize(kAnchorBlock * dim_);
    }
    if (gradient != nullptr) pairs_.resize(columns.kept * stride_);
  }

  // Calls visit(i, log D_i) for every anchor; adds the softmax's part to the gradient.
  template <typename Visit>
  void run(const Visit& visit) {
    for (int64_t i = 0; i < columns_.features().size; i += kAnchorBlock) {
      const Rows anchors =
          columns_.features().narrow(i, std::min(kAnchorBlock, columns_.features().size - i));
      const Lanes<T> lanes = Products<T>::lanes(anchors);
      for_each_part([&](BCLPart<T>& part) { add_columns(part, i, lanes); });
      std::array<double, kAnchorBlock> log_denominator;
      for (int64_t k = 0; k < anchors.size; ++k) {
        log_denominator[k] = join(k);
        visit(i + k, log_denominator[k]);
      }
      if (gradient_ == nullptr) continue;
      Products<T> products;
      products.set_rows(anchors);
      for_each_part([&](BCLPart<T>& part) {
        add_contrast_gradient(part, log_denominator, products, /*accumulate=*/i > 0);
      });
      add_anchor_gradient(i, anchors.size, log_denominator);
    }
  }

 private:
  template <typename Body>
  void for_each_part(const Body& body) {
    threads_.parallel_for(0, static_cast<int64_t>(parts_.size()), /*grain_size=*/1,
                          [&](int64_t begin, int64_t end) {
                            for (int64_t s = begin; s < end; ++s) body(parts_[s]);
                          });
  }

  void add_columns(BCLPart<T>& part, int64_t first_anchor, const Lanes<T>& lanes) {
    const auto& kernels = tile_kernels<T>();
    const auto labels =
        lane_labels<kAnchorBlock>(columns_.segments[0].labels + first_anchor, lanes.size);
    part.maximum.fill(kNoPair<T>);
    part.exp_sum.fill(0);
    Products<T> products;
    AlignedVector<T> not_kept;
    for (size_t t = 0; t < part.tiles.size(); ++t) {
      const Tile& tile = part.tiles[t];
      products.set_rows(tile.rows());
      const bool kept = gradient_ != nullptr && columns_.is_kept(tile);
      if (!kept) not_kept.resize(tile.size * lanes.stride());
      T* const x = kept ? pairs_.data() + columns_.position(tile) * stride_ : not_kept.data();
      products.logits(x, lanes, inverse_temperature_);

      auto& maximum = part.tile_maximum[t];
      maximum = part.maximum;
      std::array<T, kAnchorBlock> tile_sum;
      const auto factors = pair_weights<T>(columns_.counts.data(), tile.labels(), tile.size);
      const auto set_self_pairs = [&](const auto& value) {
        if (!tile.segment->holds_anchors) return;
        const int64_t end = std::min(first_anchor + lanes.size, tile.begin + tile.size);
        for (int64_t j = std::max(first_anchor, tile.begin); j < end; ++j) {
          const int64_t lane = j - first_anchor;
          x[(j - tile.begin) * lanes.stride() + lane] = value(j - tile.begin, lane);
        }
      };
      // An anchor is no column of its own: its logit is that of the next column, once more, until
      // the exponentials have been taken.
      set_self_pairs([&](int64_t row, int64_t lane) {
        return tile.size > 1 ? x[(row + 1) % tile.size * lanes.stride() + lane] : kMinusInfinity<T>;
      });
      kernels.lane_softmax(x, lanes.stride(), tile.size, lanes.width(), maximum.data(),
                           tile_sum.data());
      set_self_pairs([](int64_t, int64_t) { return T(0); });
      kernels.lane_weigh(x, lanes.stride(), tile.size, lanes.width(), factors.data(), labels.data(),
                         tile_sum.data());

      std::array<T, kAnchorBlock> rescale{};
      for (int64_t k = 0; k < lanes.size; ++k) rescale[k] = part.maximum[k] - maximum[k];
      row_kernels<T>().exp_affine(rescale.data(), rescale.data(), lanes.width(), {0, 0}, 1, 0);
      for (int64_t k = 0; k < lanes.size; ++k) {
        part.exp_sum[k] = part.exp_sum[k] * rescale[k] + tile_sum[k];
        if (gradient_ == nullptr || t == 0 || rescale[k] == 1) continue;
        T* const row = part.rows.data() + k * dim_;
        row_kernels<T>().axpby(row, row, dim_, 0, rescale[k]);
      }
      part.maximum = maximum;
      if (gradient_ != nullptr) {
        products.weigh_rows(part.rows.data(), x, lanes.size, /*accumulate=*/t > 0);
      }
    }
  }

  // log D of an anchor of the strip
  double join(int64_t k) const {
    T maximum = kNoPair<T>;
    for (const auto& part : parts_) maximum = std::max(maximum, part.maximum[k]);
    double sum = 0;
    for (const auto& part : parts_) {
      sum += part.exp_sum[k] * std::exp(static_cast<double>(part.maximum[k] - maximum));
    }
    return static_cast<double>(maximum) + std::log(sum);
  }

  // What makes exp(p_ij - maximum) the gradient exp(p_ij) / (D_i M T)
  T factor(T maximum, double log_denominator) const {
    return static_cast<T>(std::exp(static_cast<double>(maximum) - log_denominator) * scale_);
  }

  void add_contrast_gradient(BCLPart<T>& part,
                             const std::array<double, kAnchorBlock>& log_denominator,
                             const Products<T>& anchors, bool accumulate) {
    std::array<T, kAnchorBlock> factors{};
    for (size_t t = 0; t < part.tiles.size(); ++t) {
      const Tile& tile = part.tiles[t];
      if (!columns_.is_kept(tile)) return;  // nor are those behind it
      for (int64_t k = 0; k < anchors.size(); ++k) {
        const T maximum = part.tile_maximum[t][k];
        if (t > 0 && maximum == part.tile_maximum[t - 1][k]) continue;
        factors[k] = factor(maximum, log_denominator[k]);
      }
      T* const x = pairs_.data() + columns_.position(tile) * stride_;
      const int64_t stride = tile_stride(anchors.size());
      tile_kernels<T>().lane_scale(x, stride, tile.size, stride - kLanes, factors.data());
      anchors.weigh_lane_rows(gradient_ + columns_.position(tile) * dim_, x, tile.size, accumulate);
    }
  }

  void add_anchor_gradient(int64_t first_anchor, int64_t size,
                           const std::array<double, kAnchorBlock>& log_denominator) {
    threads_.parallel_for(0, size, kThreadNumbers / dim_ + 1, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        for (const auto& part : parts_) {
          row_kernels<T>().axpby(gradient_ + (first_anchor + k) * dim_, part.rows.data() + k * dim_,
                                 dim_, factor(part.maximum[k], log_denominator[k]), 1);
        }
      }
    });
  }

  const BCLColumns& columns_;
  T* gradient_;
  const Threads& threads_;
  T inverse_temperature_;
  double scale_;  // 1 / (M T)
  int64_t dim_;
  int64_t stride_;
  std::vector<BCLPart<T>> parts_;
  AlignedVector<T> pairs_;  // [M + C, 128] of the strip
};

}  // namespace paco::cpu
