#pragma once

#include <cstdint>

#include "element.h"

// The PaCo loss as kernels see it, on the CPU and on CUDA. Symbols are those of ops/paco_loss.h.
//
// The loss with class_counts is that of ops/bcl_loss.h: the exponential of pair (i, j) has the
// weight 1 / (n_{y_j} - 1{y_j = y_i}). Prototypes are then the last rows of features, and no
// anchors; there are no center logits.
namespace paco {

// How far the sum of a row of soft targets may be from 1.
constexpr double kSoftTargetTolerance = 1e-4;

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
  const int64_t* class_counts;  // [C] n_c, how many columns have each class; null for PaCo
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
};

// The forward pass writes these, of the type that sums are taken in.
struct PaCoLossOutput {
  void* loss;  // []
  double*
      log_partition;  // [A]     L_i, which float cannot add a small logarithm to where it is large
  void* pair_weight;  // [A]     W_i
  void* anchor_grad;  // [A, D]  gradient of T_base l_i to z_i as an anchor; null where not wanted
};

// The backward pass reads and writes these besides the problem, whose queue it does not look at.
struct PaCoLossGradients {
  const void* grad_loss;        // [], like the other inputs of the type that sums are taken in
  const double* log_partition;  // [A]
  const void* pair_weight;      // [A]
  const void* anchor_grad;      // [A, D], null where grad_features is
  void* grad_features;          // [M, D], of the type of features; null where not wanted
  void* grad_center_logits;     // [A, C], of the type of center_logits; null where not wanted
};

}  // namespace paco
