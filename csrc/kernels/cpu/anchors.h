#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "class_sums.h"
#include "pair_stream.h"
#include "row_kernels.h"

// What the columns of a share leave of each anchor (pairs, positives, centers), and what comes of
// it: L_i, W_i, l_i and the gradient.
namespace paco::cpu {

// The target of an anchor over the classes, or null where its label is the target.
template <typename T>
const T* soft_targets_of(const PaCoLossProblem& problem, int64_t anchor) {
  const auto* const targets = static_cast<const T*>(problem.soft_targets);
  return targets == nullptr ? nullptr
                            : targets + problem.center_row_of(anchor) * problem.num_classes;
}

inline Rows center_rows(const PaCoLossProblem& problem, const void* data) {
  const int64_t rows =
      problem.share.anchors != nullptr ? problem.share.center_rows : problem.num_anchors;
  return {data, problem.center_type, rows, problem.num_classes, problem.num_classes};
}

constexpr double kNoMaximum = -std::numeric_limits<double>::infinity();
constexpr PaCoLossSums kNoSums{kNoMaximum, 0, kNoMaximum, 0, 0, 0};

// The terms of one anchor's centers, whose target is `targets`, or for null its label, smoothed.
template <typename T>
void add_centers(PaCoLossSums& sums, const T* logits, const PaCoLossProblem& problem, int64_t label,
                 const T* targets) {
  constexpr int64_t kBlock = 4096;  // numbers of a sum in T; sums of blocks are double
  const auto& kernels = row_kernels<T>();
  const int64_t num_classes = problem.num_classes;
  const double smoothing = problem.label_smoothing;
  const T maximum = kernels.maximum(logits, num_classes);
  sums.center_maximum = maximum;
  double sum = 0;
  for (int64_t c = 0; c < num_classes; c += kBlock) {
    const int64_t size = std::min(kBlock, num_classes - c);
    sums.center_sum += kernels.exp_sum(logits + c, size, maximum);
    if (smoothing > 0) sum += kernels.sum(logits + c, size);
    if (targets != nullptr) sum += kernels.dot(targets + c, logits + c, size);
  }
  if (targets != nullptr) {
    sums.target = sum;
    return;
  }
  const int64_t own_class = label - problem.share.first_class;
  const double own = own_class >= 0 && own_class < num_classes ? logits[own_class] : 0;
  sums.target = own;
  if (smoothing > 0) {
    const double other = smoothing / static_cast<double>(problem.label_range() - 1);
    sums.target = (1 - smoothing) * own + other * (sum - own);
  }
}

// 0, or NaN where a number is NaN or infinite.
template <typename T>
double poison(const Rows& rows, const Threads& threads) {
  std::vector<T> sums(rows.size);
  threads.parallel_for(0, rows.size, kThreadNumbers / rows.dim + 1,
                       [&](int64_t begin, int64_t end) {
                         std::vector<T> buffer;
                         for (int64_t j = begin; j < end; ++j) {
                           sums[j] = row_kernels<T>().sum(row_numbers(rows, j, buffer), rows.dim);
                         }
                       });
  double result = 0;
  for (const T sum : sums) result += static_cast<double>(sum) * 0;
  return result;
}

// One pass over the columns of a share.
template <typename T>
class AnchorShare {
 public:
  // `exp_rows`, [A, D], receives sum_j exp(p_ij - maximum) z_j; null where no gradient is needed.
  AnchorShare(const PaCoLossProblem& problem, T* exp_rows, const Threads& threads)
      : problem_(problem),
        segments_(column_segments(problem)),
        anchors_(anchor_matrix(problem)),
        logits_(center_rows(problem, problem.center_logits)),
        classes_(problem.labels_of_anchors(), problem.alpha > 0 ? problem.num_anchors : 0,
                 problem.dim) {
    for (const Segment& segment : segments_) {
      if (problem.alpha > 0) {
        classes_.add(segment.rows, segment.labels, /*factors=*/nullptr, threads);
      }
      // Exponentials of pairs are needed for gamma alone: else the rows take part in no product.
      if (problem.gamma == 0) poison_ += poison<T>(segment.rows, threads);
    }
    if (problem.gamma > 0) {
      pairs_.emplace(problem, segments_, exp_rows, threads);
    } else if (exp_rows != nullptr) {
      std::fill_n(exp_rows, problem.num_anchors * problem.dim, T(0));
    }
  }

  // Of a thread.
  struct Buffers {
    std::vector<T> anchor;
    std::vector<T> logits;
  };

  const T* anchor(int64_t i, Buffers& buffers) const {
    return row_numbers(anchors_, i, buffers.anchor);
  }

  // The sums of anchor i; `positive_row`, [D], receives that of its positives, if it has any.
  PaCoLossSums operator()(int64_t i, T* positive_row, Buffers& buffers) {
    PaCoLossSums sums = kNoSums;
    if (pairs_) {
      const auto pair = pairs_->join(i);
      sums.pair_maximum = pair.maximum;
      sums.pair_sum = pair.exp_sum;
    }
    const int64_t label = problem_.labels_of_anchors()[i];
    if (problem_.alpha > 0) {
      // Positives by their class sum, the anchor itself taken out.
      const int32_t slot = classes_.slots[label];
      const bool is_column = problem_.row_of(i) >= 0;
      sums.positives = static_cast<double>(classes_.counts[slot] - (is_column ? 1 : 0));
      if (sums.positives > 0) {
        row_kernels<T>().subtract(positive_row, classes_.sum(slot), anchor(i, buffers),
                                  problem_.dim, is_column ? 1 : 0);
      }
    }
    const int64_t center_row = logits_.data == nullptr ? -1 : problem_.center_row_of(i);
    if (center_row >= 0) {
      add_centers(sums, row_numbers(logits_, center_row, buffers.logits), problem_, label,
                  soft_targets_of<T>(problem_, i));
    }
    sums.target += poison_;
    return sums;
  }

 private:
  const PaCoLossProblem& problem_;
  std::vector<Segment> segments_;
  Rows anchors_;
  Rows logits_;
  ClassSums<T> classes_;  // empty where alpha is 0
  std::optional<PairStream<T>> pairs_;
  double poison_ = 0;
};

// The loss and the gradient of an anchor from the sums over all columns.
template <typename T>
struct AnchorFinish {
  const PaCoLossProblem& problem;
  double center_weight;   // beta, or 0 without centers
  double* log_partition;  // [A]
  T* pair_weight;         // [A]
  T* anchor_grad;         // [A, D]: sum_j exp(p_ij - maximum) z_j, made the gradient; or null

  // Returns l_i, times the weight of the anchor. `positive_row` is read where there are positives.
  double operator()(int64_t i, const T* anchor, const PaCoLossSums& sums,
                    const T* positive_row) const {
    const auto& kernels = row_kernels<T>();
    const int64_t dim = problem.dim;

    const double maximum = std::max(sums.pair_maximum, sums.center_maximum);
    const auto at_maximum = [&](double of) { return of == maximum ? 1 : std::exp(of - maximum); };
    const double pair_factor = problem.gamma * at_maximum(sums.pair_maximum);
    const double partition =
        sums.center_sum * at_maximum(sums.center_maximum) + sums.pair_sum * pair_factor;
    const double log_denominator = maximum + std::log(partition);

    const double positives = sums.positives;
    const double weight = center_weight + problem.alpha * positives;
    log_partition[i] = log_denominator;
    pair_weight[i] = static_cast<T>(weight);

    if (anchor_grad != nullptr) {
      T* const grad = anchor_grad + i * dim;
      const auto pair_scale = static_cast<T>(pair_factor / partition);
      if (weight == 0) {
        std::fill_n(grad, dim, T(0));
      } else if (positives > 0) {
        kernels.axpby(grad, positive_row, dim, static_cast<T>(-problem.alpha / weight), pair_scale);
      } else {
        kernels.axpby(grad, anchor, dim, 0, pair_scale);
      }
    }

    // A NaN reaches the loss even where nothing else uses it.
    const T squared_norm = kernels.dot(anchor, anchor, dim);
    double loss = (squared_norm + sums.pair_sum + sums.center_sum + sums.target) * 0;
    if (weight > 0) {
      double log_likelihood = 0;
      if (center_weight > 0) log_likelihood += center_weight * (sums.target - log_denominator);
      if (positives > 0) {
        const double positive_logits = kernels.dot(anchor, positive_row, dim) / problem.temperature;
        log_likelihood += problem.alpha * (positive_logits - positives * log_denominator);
      }
      loss -= problem.temperature / problem.base_temperature * log_likelihood / weight;
    }
    if (problem.anchor_weight != nullptr) {
      const T factor = static_cast<const T*>(problem.anchor_weight)[i];
      loss = loss * factor + factor * 0;
    }
    return loss;
  }
};

}  // namespace paco::cpu
