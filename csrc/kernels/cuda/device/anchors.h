#pragma once

#include <cmath>
#include <cstdint>

#include "anchor_source.h"
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

// Shared memory of the kernels of anchors, and of average_anchors, which needs less.
struct AnchorMemory {
  static constexpr int kReduced = 6;
  float reduction[kReduced * kMaxWarps];
  float share_weight[kMaxShares];
  float exp_row[kMaxDim];       // sum_j exp(p_ij - pair_maximum) z_j
  float positive_row[kMaxDim];  // sum_{P(i)} z_j
};

// The sums that columns leave of an anchor, the same on every thread, besides the two rows. The
// logarithms are of e, and -infinity without a pair or a center.
struct AnchorSums {
  double pair_maximum;
  float pair_sum;
  double center_maximum;
  float center_sum;
  float target;          // sum_c t_ic s_ic
  float positives;       // |P(i)|
  float positive_pairs;  // z_i . sum_{P(i)} z_j
  float poison;
};

// Adds up the shares of one anchor, with one pass over its center logits.
template <typename Logit, typename Element, typename Source, typename Context>
PACO_DEVICE AnchorSums sum_anchor(Context& context, const DeviceProblem& problem,
                                  const ForwardScratch& scratch, const Source& source,
                                  int64_t anchor) {
  auto& memory = *reinterpret_cast<AnchorMemory*>(context.shared_memory());
  const int thread = context.thread();
  const int lane = context.lane();
  const auto anchors = source.template rows<Element>(problem);
  const int dim = problem.dim;
  const int64_t num_anchors = problem.num_anchors;
  const int64_t label = source.label(problem, anchor);

  // The anchor of the same block of sum_classes that added up this class.
  const int64_t first_anchor = anchor / kPairRows * kPairRows;
  const auto same_class = [&](int64_t other) {
    return other <= anchor && source.label(problem, other) == label;
  };
  const uint32_t low = context.ballot(same_class(first_anchor + lane));
  const uint32_t high = context.ballot(same_class(first_anchor + 32 + lane));
  const int64_t class_anchor =
      first_anchor + (low != 0 ? context.first_bit(low) : 32 + context.first_bit(high));

  CenterSums centers;
  const Logit* logits = nullptr;
  const float* soft_targets = nullptr;
  const int64_t center_row = source.center_row_of(anchor);
  if (problem.center_logits != nullptr && center_row >= 0) {
    logits = static_cast<const Logit*>(problem.center_logits) + center_row * problem.num_classes;
    if (problem.soft_targets != nullptr) {
      soft_targets = problem.soft_targets + center_row * problem.num_classes;
    }
    centers = sum_centers(context, logits, soft_targets, problem.num_classes);
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

  // The class less the anchor itself, where that is a column.
  const float is_column = source.row_of(problem, anchor) >= 0 ? 1.0f : 0.0f;
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
    const float feature = context.to_float(anchors.row(anchor)[d]);
    memory.exp_row[d] = exp_row;
    memory.positive_row[d] = class_row - is_column * feature;
    positive_pairs += feature * memory.positive_row[d];
  }

  const float center_rescale = expf(centers.maximum - center_shift);
  float sums[AnchorMemory::kReduced] = {exp_sum,        class_count,
                                        positive_pairs, centers.exp_sum * center_rescale,
                                        centers.total,  centers.poison};
  reduce_block<Sum>(context, sums, memory.reduction);

  AnchorSums result{pair_maximum * kLn2, sums[0], center_maximum, sums[3], 0,
                    sums[1] - is_column, sums[2], sums[5]};
  if (soft_targets != nullptr) {
    result.target = sums[4];
  } else if (logits != nullptr) {
    const int64_t own = label - source.first_class();
    const bool has_own = own >= 0 && own < problem.num_classes;
    const float label_logit = has_own ? context.to_float(logits[own]) : 0.0f;
    const float smoothing = problem.label_smoothing;
    result.target = label_logit;
    if (smoothing > 0) {
      const float other = smoothing / static_cast<float>(source.label_range(problem) - 1);
      result.target = (1 - smoothing) * label_logit + other * (sums[4] - label_logit);
    }
  }
  return result;
}

// Loss and gradient of one anchor from its sums over all columns: L_i, W_i, the gradient to the
// anchor's row and, returned, l_i.
template <typename Context>
PACO_DEVICE float finish_anchor(Context& context, const DeviceProblem& problem, int64_t anchor,
                                const AnchorSums& sums, const PaCoLossOutput& output) {
  const auto& memory = *reinterpret_cast<const AnchorMemory*>(context.shared_memory());
  const int thread = context.thread();
  const int dim = problem.dim;
  // L_i joins pairs and centers under one maximum. gamma weighs exponentials, so 0 is no special
  // case but for the maximum, in which pairs without weight have no say.
  const float gamma = problem.gamma;
  double maximum = sums.center_maximum;
  if (gamma > 0 && sums.pair_maximum > maximum) maximum = sums.pair_maximum;
  if (maximum == -INFINITY) maximum = 0;
  const auto below_maximum = [&](double logarithm) {
    return expf(static_cast<float>(logarithm - maximum));
  };
  const float pair_scale = gamma > 0 ? gamma * below_maximum(sums.pair_maximum) : 0.0f;
  const float partition =
      pair_scale * sums.pair_sum + below_maximum(sums.center_maximum) * sums.center_sum;
  const double log_partition = maximum + logf(partition);

  const float positives = sums.positives;
  const float alpha = problem.alpha;
  const float beta = problem.beta;
  const float temperature = problem.temperature;
  const float pair_weight = beta + alpha * positives;
  double log_likelihood = alpha * (sums.positive_pairs / temperature - positives * log_partition);
  if (beta > 0) log_likelihood += beta * (sums.target - log_partition);
  // An anchor without center and positives has no loss.
  const bool idle = pair_weight == 0;
  float loss = idle ? 0.0f
                    : static_cast<float>(-(temperature / problem.base_temperature) *
                                         log_likelihood / pair_weight);
  float poison = 0.0f * sums.pair_sum + sums.poison;
  if (problem.anchor_weight != nullptr) {
    const float weight = problem.anchor_weight[anchor];
    loss *= weight;
    poison = fmaf(weight, 0.0f, poison);
  }
  if (thread == 0) {
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
  return loss + poison;
}

// The loss of one process: both of an anchor.
template <typename Logit, typename Element, typename Context>
PACO_DEVICE void finish_anchors(Context& context, const DeviceProblem& problem,
                                const ForwardScratch& scratch, const PaCoLossOutput& output) {
  const int64_t anchor = context.block_x();
  const AnchorSums sums =
      sum_anchor<Logit, Element>(context, problem, scratch, FirstRows{}, anchor);
  const float loss = finish_anchor(context, problem, anchor, sums, output);
  if (context.thread() == 0) scratch.anchor_loss[anchor] = loss;
}

// The record of the columns of one of several processes: the sums of an anchor, left for others.
template <typename Logit, typename Element, typename Context>
PACO_DEVICE void record_anchors(Context& context, const DeviceProblem& problem,
                                const ForwardScratch& scratch, const GatheredAnchors& source,
                                const PaCoLossRecords& record) {
  const auto& memory = *reinterpret_cast<const AnchorMemory*>(context.shared_memory());
  const int64_t anchor = context.block_x();
  const AnchorSums sums = sum_anchor<Logit, Element>(context, problem, scratch, source, anchor);
  if (context.thread() == 0) {
    const bool has_pairs = problem.gamma > 0;
    record.sums[anchor] = {has_pairs ? sums.pair_maximum : -INFINITY,
                           has_pairs ? sums.pair_sum : 0,
                           sums.center_maximum,
                           sums.center_sum,
                           sums.target + sums.poison + 0.0f * sums.pair_sum,
                           sums.positives};
  }
  const int dim = problem.dim;
  const int num_rows = record.has_exp_rows ? 2 : 1;
  float* const rows = static_cast<float*>(record.rows) + anchor * num_rows * dim;
  for (int d = context.thread(); d < dim; d += context.num_threads()) {
    rows[d] = memory.positive_row[d];
    if (record.has_exp_rows) rows[dim + d] = problem.gamma > 0 ? memory.exp_row[d] : 0.0f;
  }
}

// An anchor from the records of all processes.
template <typename Element, typename Context>
PACO_DEVICE void combine_anchors(Context& context, const DeviceProblem& problem,
                                 const PaCoLossRecords& records, const PaCoLossOutput& output) {
  auto& memory = *reinterpret_cast<AnchorMemory*>(context.shared_memory());
  const int64_t anchor = context.block_x();
  const int64_t num_anchors = problem.num_anchors;
  const int dim = problem.dim;
  const auto record_of = [&](int64_t share) -> const PaCoLossSums& {
    return records.sums[share * num_anchors + anchor];
  };
  double pair_maximum = -INFINITY;
  double center_maximum = -INFINITY;
  for (int64_t share = 0; share < records.num_shares; ++share) {
    const PaCoLossSums& part = record_of(share);
    if (part.pair_maximum > pair_maximum) pair_maximum = part.pair_maximum;
    if (part.center_maximum > center_maximum) center_maximum = part.center_maximum;
  }
  // A share without a pair or a center has a sum of 0 at a maximum of -infinity.
  const auto rescale = [](double maximum, double joint) {
    return maximum == -INFINITY ? 0.0f : expf(static_cast<float>(maximum - joint));
  };
  AnchorSums sums{pair_maximum, 0, center_maximum, 0, 0, 0, 0, 0};
  for (int64_t share = 0; share < records.num_shares; ++share) {
    const PaCoLossSums& part = record_of(share);
    sums.pair_sum += static_cast<float>(part.pair_sum) * rescale(part.pair_maximum, pair_maximum);
    sums.center_sum +=
        static_cast<float>(part.center_sum) * rescale(part.center_maximum, center_maximum);
    sums.target += static_cast<float>(part.target);
    sums.positives += static_cast<float>(part.positives);
  }
  sums.poison = 0.0f * (sums.center_sum + sums.target);

  const int num_rows = records.has_exp_rows ? 2 : 1;
  const auto* const features = static_cast<const Element*>(problem.features) + anchor * dim;
  float positive_pairs[1] = {0};
  for (int d = context.thread(); d < dim; d += context.num_threads()) {
    float exp_row = 0;
    float positive_row = 0;
    for (int64_t share = 0; share < records.num_shares; ++share) {
      const float* const rows =
          static_cast<const float*>(records.rows) + (share * num_anchors + anchor) * num_rows * dim;
      positive_row += rows[d];
      if (records.has_exp_rows) {
        exp_row += rescale(record_of(share).pair_maximum, pair_maximum) * rows[dim + d];
      }
    }
    memory.exp_row[d] = exp_row;
    memory.positive_row[d] = positive_row;
    positive_pairs[0] += context.to_float(features[d]) * positive_row;
  }
  reduce_block<Sum>(context, positive_pairs, memory.reduction);
  sums.positive_pairs = positive_pairs[0];
  const float loss = finish_anchor(context, problem, anchor, sums, output);
  if (context.thread() == 0) output.losses[anchor] = loss;
  if (problem.anchor_weight != nullptr) {
    // NaN is let through: it gives NaN in the loss.
    context.check(!(problem.anchor_weight[anchor] < 0), "paco: anchor_weight must be >= 0");
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
