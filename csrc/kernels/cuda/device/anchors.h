#pragma once

#include <cmath>
#include <cstdint>

#include "forward_scratch.h"
#include "pair_tiles.h"
#include "problem.h"
#include "reductions.h"

namespace paco::cuda {

// A share of a row of center logits: sum_c exp(s_c - maximum), sum_c s_c, each s_c times its soft
// target if there are any, and the poison.
struct CenterSums {
  float maximum = -INFINITY;
  float exp_sum = 0;
  float total = 0;
  float poison = 0;
};

// One pass over the row, with a running maximum.
template <typename Logit, typename Context>
PACO_DEVICE CenterSums sum_centers(Context& context, const Logit* logits, const float* soft_targets,
                                   int64_t num_classes) {
  constexpr int kBatch = 4;  // loads in flight, and terms for one change of the maximum
  CenterSums sums;
  for (int64_t begin = context.thread(); begin < num_classes;
       begin += kBatch * context.num_threads()) {
    float batch[kBatch];
    float batch_maximum = -INFINITY;
    PACO_UNROLL
    for (int i = 0; i < kBatch; ++i) {
      const int64_t c = begin + i * context.num_threads();
      batch[i] = c < num_classes ? context.to_float(logits[c]) : -INFINITY;
      batch_maximum = fmaxf(batch_maximum, batch[i]);
      if (c < num_classes) {
        const float term = soft_targets != nullptr ? soft_targets[c] * batch[i] : batch[i];
        sums.total += term;
        sums.poison = fmaf(term, 0.0f, sums.poison);
      }
    }
    const float maximum = fmaxf(sums.maximum, batch_maximum);
    const float shift = maximum == -INFINITY ? 0.0f : maximum;
    sums.exp_sum *= expf(sums.maximum - shift);
    PACO_UNROLL
    for (int i = 0; i < kBatch; ++i) sums.exp_sum += expf(batch[i] - shift);
    sums.maximum = maximum;
  }
  return sums;
}

// Shared memory of finish_anchors, and of average_anchors, which needs less.
struct AnchorMemory {
  static constexpr int kReduced = 6;
  float reduction[kReduced * kMaxWarps];
  float share_weight[kMaxShares];
  float exp_row[kMaxDim];
  float positive_row[kMaxDim];
};

// Loss and gradient of one anchor, from the shares of the columns and one pass over its center
// logits: L_i, W_i, l_i and the gradient to the anchor's row.
template <typename Logit, typename Element, typename Context>
PACO_DEVICE void finish_anchors(Context& context, const DeviceProblem& problem,
                                const ForwardScratch& scratch, const PaCoLossOutput& output) {
  auto& memory = *reinterpret_cast<AnchorMemory*>(context.shared_memory());
  const int thread = context.thread();
  const int lane = context.lane();
  const auto* const features = static_cast<const Element*>(problem.features);
  const int dim = problem.dim;
  const int64_t num_anchors = problem.num_anchors;
  const int64_t anchor = context.block_x();
  const int64_t label = problem.labels[anchor];

  // The anchor of the same block of sum_classes that added up this class.
  const int64_t first_anchor = anchor / kPairRows * kPairRows;
  const auto same_class = [&](int64_t other) {
    return other <= anchor && problem.labels[other] == label;
  };
  const uint32_t low = context.ballot(same_class(first_anchor + lane));
  const uint32_t high = context.ballot(same_class(first_anchor + 32 + lane));
  const int64_t class_anchor =
      first_anchor + (low != 0 ? context.first_bit(low) : 32 + context.first_bit(high));

  CenterSums centers;
  const Logit* logits = nullptr;
  if (problem.center_logits != nullptr) {
    logits = static_cast<const Logit*>(problem.center_logits) + anchor * problem.num_classes;
    const float* const targets = problem.soft_targets != nullptr
                                     ? problem.soft_targets + anchor * problem.num_classes
                                     : nullptr;
    centers = sum_centers(context, logits, targets, problem.num_classes);
  }
  float share_maximum = -INFINITY;
  for (int share = thread; share < scratch.num_shares; share += context.num_threads()) {
    share_maximum = fmaxf(share_maximum, scratch.maximum[share * num_anchors + anchor]);
  }
  float maxima[2] = {share_maximum, centers.maximum};
  reduce_block<Maximum>(context, maxima, memory.reduction);
  const float pair_maximum = maxima[0];
  const float center_maximum = maxima[1];
  const float pair_shift = pair_maximum == -INFINITY ? 0.0f : pair_maximum;
  const float center_shift = center_maximum == -INFINITY ? 0.0f : center_maximum;

  float exp_sum = 0;
  float class_count = 0;
  for (int share = thread; share < scratch.num_shares; share += context.num_threads()) {
    const int64_t at = share * num_anchors + anchor;
    const float weight = context.exp2(scratch.maximum[at] - pair_shift);
    memory.share_weight[share] = weight;
    exp_sum += weight * scratch.exp_sum[at];
    class_count += static_cast<float>(scratch.class_counts[share * num_anchors + class_anchor]);
  }
  context.sync();

  // z_i . sum_{P(i)} z_j
  float positive_pairs = 0;
  for (int d = thread; d < dim; d += context.num_threads()) {
    float exp_row = 0;
    float class_row = 0;
    for (int share = 0; share < scratch.num_shares; ++share) {
      const int64_t class_at = share * num_anchors + class_anchor;
      if (scratch.exp_rows != nullptr) {
        const int64_t at = share * num_anchors + anchor;
        exp_row += memory.share_weight[share] * scratch.exp_rows[at * dim + d];
      }
      if (scratch.class_counts[class_at] != 0) class_row += scratch.class_rows[class_at * dim + d];
    }
    const float feature = context.to_float(features[anchor * dim + d]);
    memory.exp_row[d] = exp_row;
    memory.positive_row[d] = class_row - feature;
    positive_pairs += feature * memory.positive_row[d];
  }

  const float center_rescale = expf(centers.maximum - center_shift);
  float sums[AnchorMemory::kReduced] = {exp_sum,        class_count,
                                        positive_pairs, centers.exp_sum * center_rescale,
                                        centers.total,  centers.poison};
  reduce_block<Sum>(context, sums, memory.reduction);

  // L_i joins pairs and centers under one maximum. gamma weighs exponentials, so 0 is no special
  // case but for the maximum, in which pairs without weight have no say.
  const float gamma = problem.gamma;
  const double pair_logarithm = pair_maximum * kLn2;
  double maximum = center_maximum;
  if (gamma > 0 && pair_logarithm > maximum) maximum = pair_logarithm;
  if (maximum == -INFINITY) maximum = 0;
  const auto below_maximum = [&](double logarithm) {
    return expf(static_cast<float>(logarithm - maximum));
  };
  const float pair_scale = gamma > 0 ? gamma * below_maximum(pair_logarithm) : 0.0f;
  const float partition = pair_scale * sums[0] + below_maximum(center_maximum) * sums[3];
  const double log_partition = maximum + logf(partition);

  const float positives = sums[1] - 1;  // the class without the anchor itself
  const float alpha = problem.alpha;
  const float beta = problem.beta;
  const float temperature = problem.temperature;
  const float pair_weight = beta + alpha * positives;
  double log_likelihood = alpha * (sums[2] / temperature - positives * log_partition);
  if (logits != nullptr) {
    const float label_logit = context.to_float(logits[label]);
    float target_logit = problem.soft_targets != nullptr ? sums[4] : label_logit;
    const auto smoothing = problem.label_smoothing;
    if (smoothing > 0) {
      const float other = smoothing / static_cast<float>(problem.num_classes - 1);
      target_logit = (1 - smoothing) * label_logit + other * (sums[4] - label_logit);
    }
    log_likelihood += beta * (target_logit - log_partition);
  }
  // An anchor without center and positives has no loss.
  const bool idle = pair_weight == 0;
  if (thread == 0) {
    const float base_temperature = problem.base_temperature;
    float loss =
        idle ? 0.0f
             : static_cast<float>(-(temperature / base_temperature) * log_likelihood / pair_weight);
    float poison = 0.0f * sums[0] + sums[5];
    if (problem.anchor_weight != nullptr) {
      const float weight = problem.anchor_weight[anchor];
      loss *= weight;
      poison = fmaf(weight, 0.0f, poison);
    }
    scratch.anchor_loss[anchor] = loss + poison;
    output.log_partition[anchor] = log_partition;
    static_cast<float*>(output.pair_weight)[anchor] = pair_weight;
  }
  auto* const anchor_grad = static_cast<float*>(output.anchor_grad);
  if (anchor_grad != nullptr) {
    const float exp_scale = pair_scale / partition;
    // alpha / W may be any number where there are no positives.
    const float positive_scale = positives > 0 ? alpha / pair_weight : 0.0f;
    for (int d = thread; d < dim; d += context.num_threads()) {
      anchor_grad[anchor * dim + d] =
          idle ? 0.0f : exp_scale * memory.exp_row[d] - positive_scale * memory.positive_row[d];
    }
  }
}

// The loss: one block adds up the losses of all anchors.
template <typename Context>
PACO_DEVICE void average_anchors(Context& context, const float* anchor_loss, int64_t num_anchors,
                                 float* loss) {
  auto& memory = *reinterpret_cast<AnchorMemory*>(context.shared_memory());
  float sum[1] = {0};
  for (int64_t i = context.thread(); i < num_anchors; i += context.num_threads()) {
    sum[0] += anchor_loss[i];
  }
  reduce_block<Sum>(context, sum, memory.reduction);
  if (context.thread() == 0) *loss = sum[0] / static_cast<float>(num_anchors);
}

}  // namespace paco::cuda
