#pragma once

#include <cstdint>

#include "element.h"

// The PaCo loss as kernels see it, on the CPU and on CUDA. Symbols are those of ops/paco_loss.h.
//
// The loss with class_counts is that of ops/bcl_loss.h: the exponential of pair (i, j) has the
// weight 1 / (n_{y_j} - 1{y_j = y_i}). Prototypes are then the last rows of features, and no
// anchors; there are no center logits. The CPU has kernels of its own for it in one process.
namespace paco {

// How far the sum of a row of soft targets may be from 1.
constexpr double kSoftTargetTolerance = 1e-4;

// What one of several processes has of a problem: the anchors of all of them, beside rows, queue
// and perhaps classes of its own. One process has all, and leaves this as it is.
struct PaCoLossShare {
  const void* anchors = nullptr;           // [A, D]; null where they are the first rows of features
  const int64_t* anchor_labels = nullptr;  // [A]
  const int64_t* anchor_rows = nullptr;    // [A], the row of features that is the anchor, or -1
  const int64_t* anchor_of_row = nullptr;  // [M], the inverse: for CUDA's backward pass
  // Center logits are those of the anchors that are rows of features, by row, and of all classes;
  // or else those of all anchors, and of a share of the classes.
  bool has_class_share = false;
  int64_t center_rows = 0;  // rows of center_logits
  int64_t first_class = 0;  // whose logit is the first of a row
  int64_t all_classes = 0;  // C
};

// Matrices are dense and row-major, but for the rows of the queue. Pointers of absent arguments are
// null. Everything lies on the device that computes.
struct PaCoLossProblem {
  ElementType type;             // of features and queue
  ElementType center_type;      // of center_logits: `type`, or the type that sums are taken in
  const void* features;         // [M, D]
  const int64_t* labels;        // [M]
  const void* center_logits;    // [A, C]
  const void* queue;            // [K, D]
  const int64_t* queue_labels;  // [K]
  const int64_t* num_valid;     // [1], how many rows of the queue are valid; null for all of them
  const void* anchor_weight;    // [A], of the type that sums are taken in
  const int64_t* class_counts;  // [C] n_c, how many columns have each class, of all shares; null
                                // for PaCo
  const void* soft_targets;     // [A, C], of the type that sums are taken in; null for the labels
  int64_t num_rows;             // M
  int64_t num_anchors;          // A
  int64_t num_classes;          // C, 0 without center_logits and class_counts: any label then
  int64_t queue_rows;           // K, 0 without queue
  int64_t queue_stride;         // from one row of the queue to the next, in elements
  int64_t dim;                  // D
  double alpha;
  double beta;
  double gamma;
  double temperature;
  double base_temperature;
  double label_smoothing;
  PaCoLossShare share = {};

  const int64_t* labels_of_anchors() const {
    return share.anchors == nullptr ? labels : share.anchor_labels;
  }
  // The row of features that is the anchor, or -1.
  int64_t row_of(int64_t anchor) const {
    return share.anchor_rows == nullptr ? anchor : share.anchor_rows[anchor];
  }
  // The row of center_logits and of soft_targets, or -1.
  int64_t center_row_of(int64_t anchor) const {
    return share.has_class_share ? anchor : row_of(anchor);
  }
  // C, in whose range labels lie; 0 for any label.
  int64_t label_range() const { return share.all_classes > 0 ? share.all_classes : num_classes; }
};

// What the columns of one share leave of an anchor, besides sums of rows.
struct PaCoLossSums {
  double pair_maximum;    // of p_ij; -infinity without a pair
  double pair_sum;        // sum_j exp(p_ij - pair_maximum)
  double center_maximum;  // of s_ic; -infinity without a center
  double center_sum;      // sum_c exp(s_ic - center_maximum)
  double target;          // sum_c t_ic s_ic
  double positives;       // |P(i)|
};
constexpr int64_t kNumSums = 6;
static_assert(sizeof(PaCoLossSums) == kNumSums * sizeof(double));

// The records of S shares. Rows are of the type that sums are taken in, and R is 2 where the
// gradient to the anchors is wanted, else 1:
//   sum_{P(i)} z_j, and then sum_j exp(p_ij - pair_maximum) z_j
struct PaCoLossRecords {
  PaCoLossSums* sums;  // [S, A]
  void* rows;          // [S, A, R, D]
  int64_t num_shares;  // S
  bool has_exp_rows;   // R is 2
};

// The forward pass writes these, of the type that sums are taken in.
struct PaCoLossOutput {
  void* loss;             // []      their mean; null where only a part of the anchors is here
  double* log_partition;  // [A]     L_i: float cannot add a small logarithm to a large one
  void* pair_weight;      // [A]     W_i
  void* anchor_grad;  // [A, D]  gradient of T_base l_i to z_i as an anchor; null where not wanted
  double* losses = nullptr;  // [A]  l_i, times the weight of the anchor; null where not wanted
};

// The backward pass reads and writes these besides the problem, whose queue it does not look at.
struct PaCoLossGradients {
  const void* grad_loss;  // [], to the mean of the losses; like the other inputs of the type that
                          // sums are taken in
  const double* log_partition;  // [A]
  const void* pair_weight;      // [A]
  const void* anchor_grad;      // [A, D], or of the rows that are anchors; null like grad_features
  void* grad_features;          // [M, D], of the type of features; null where not wanted
  void* grad_center_logits;     // [A, C], of the type of center_logits; null where not wanted
  // [A], to each l_i without weight: takes the place of grad_loss and anchor_weight.
  const void* grad_losses = nullptr;
};

}  // namespace paco
