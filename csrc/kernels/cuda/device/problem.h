#pragma once

#include <cstdint>

#include "../../integers.h"
#include "../../paco_loss_problem.h"
#include "../../platform.h"
#include "tile.h"

// The kernels of paco_loss, each as a body that a GPU and the tests' host can run.
//
// Forward pass, three launches:
//   stream_pairs      a block has 64 anchors and a share of the columns (rows of features, then of
//                     the queue)
//   sum_classes       in the same launch, by the same shares: sums of the rows of each class
//   finish_anchors    a block has one anchor
//   average_anchors   one block
// Each of several processes has record_anchors in place of the last two, and, with the records of
// all, combine_anchors: a block has one anchor.
// Backward pass, a launch for each gradient:
//   feature_gradient  a block has 64 rows and all anchors
//   center_gradient   a block has 2048 elements of a row of [A, C]
//
// Every sum is added up in an order that the shapes and the number of shares fix, so the same
// inputs give the same bits. A NaN or an infinity must come out as NaN: sums of 0 * x, the poisons,
// see to it where a maximum or an exponential would swallow it.
namespace paco::cuda {

constexpr double kLog2E = 1.4426950408889634;
constexpr double kLn2 = 0.6931471805599453;

// A number of double as the sum of two floats: x - high - low knows differences that x -
// float(number) would round away.
struct Split {
  float high;
  float low;

  PACO_HOST_DEVICE explicit Split(double number)
      : high(static_cast<float>(number)), low(static_cast<float>(number - high)) {}
};

// The problem as the launches hand it to every kernel: scalars in float, because GPUs have few
// units that convert float64. Made of a PaCoLossProblem there, and nowhere else.
struct DeviceProblem {
  const void* features;
  const int64_t* labels;
  const void* center_logits;
  const void* queue;
  const int64_t* queue_labels;
  const int64_t* num_valid;
  const float* anchor_weight;
  const float* soft_targets;
  int64_t num_rows;
  int64_t num_anchors;
  int64_t num_classes;
  int64_t queue_rows;
  int dim;
  float alpha;
  float beta;  // 0 without centers
  float gamma;
  float temperature;
  float base_temperature;
  float label_smoothing;

  explicit DeviceProblem(const PaCoLossProblem& problem)
      : features(problem.features),
        labels(problem.labels),
        center_logits(problem.center_logits),
        queue(problem.queue),
        queue_labels(problem.queue_labels),
        num_valid(problem.num_valid),
        anchor_weight(static_cast<const float*>(problem.anchor_weight)),
        soft_targets(static_cast<const float*>(problem.soft_targets)),
        num_rows(problem.num_rows),
        num_anchors(problem.num_anchors),
        num_classes(problem.num_classes),
        queue_rows(problem.queue_rows),
        dim(static_cast<int>(problem.dim)),
        alpha(static_cast<float>(problem.alpha)),
        beta(problem.center_logits != nullptr ? static_cast<float>(problem.beta) : 0.0f),
        gamma(static_cast<float>(problem.gamma)),
        temperature(static_cast<float>(problem.temperature)),
        base_temperature(static_cast<float>(problem.base_temperature)),
        label_smoothing(static_cast<float>(problem.label_smoothing)) {}
};
// nvcc leaves larger arguments in memory, and spills.
static_assert(sizeof(DeviceProblem) <= 128);

// The problem of a backward pass: gradients to each loss, where there are any, are the weights of
// the anchors.
inline DeviceProblem backward_problem(const PaCoLossProblem& problem,
                                      const PaCoLossGradients& gradients) {
  DeviceProblem result(problem);
  if (gradients.grad_losses != nullptr) {
    result.anchor_weight = static_cast<const float*>(gradients.grad_losses);
  }
  return result;
}

// The first `count` rows of features.
template <typename Element>
PACO_DEVICE Rows<Element> feature_rows(const DeviceProblem& problem, int64_t count) {
  return {static_cast<const Element*>(problem.features), count, problem.dim};
}

// sum_classes reports a number out of range; nobody reads beyond the queue.
PACO_DEVICE int64_t valid_queue_rows(const DeviceProblem& problem) {
  if (problem.num_valid == nullptr) return problem.queue_rows;
  const int64_t num_valid = *problem.num_valid;
  return num_valid < 0 ? 0 : smaller(num_valid, problem.queue_rows);
}

// The weight of the loss of one anchor among others; 0 without center and positives.
PACO_DEVICE float anchor_scale(const DeviceProblem& problem, float pair_weight, int64_t anchor) {
  if (pair_weight == 0) return 0;
  const auto* const weights = problem.anchor_weight;
  return weights != nullptr ? weights[anchor] : 1.0f;
}

}  // namespace paco::cuda
