#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "check_values.h"
#include "composite.h"

namespace paco::composite {
namespace {

// Wide enough that the products dominate the launches, narrow enough that [A, tile] stays small.
constexpr int64_t kTileColumns = 4096;
constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

// The weights of BCL's pairs, [A, tile]; undefined without class counts.
at::Tensor pair_weights(const OptionalTensor& class_counts, const at::Tensor& anchor_labels,
                        const at::Tensor& labels, c10::ScalarType dtype) {
  if (!class_counts) return {};
  // Labels of rows that are not valid may be anything.
  const auto columns = labels.clamp(0, class_counts->size(0) - 1);
  const auto counts = class_counts->index_select(0, columns).to(dtype);
  return at::where(anchor_labels.eq(columns), 1 / (counts - 1), 1 / counts);
}

// A tile of columns: rows of features or of the queue.
struct Columns {
  at::Tensor rows;      // [tile, D], accumulate dtype; a masked row is 0
  at::Tensor excluded;  // [A, tile] bool: the anchor itself, or not a valid row
  at::Tensor match;     // [A, tile] accumulate dtype: 1 for a positive pair
  at::Tensor weights;   // [A, tile] of the exponentials; undefined where all are 1
};

// The running sums of one pass over all columns, for every anchor. Sums of numbers of one sign are
// float64, because a class may be as long as the queue.
struct RunningSums {
  at::Tensor maximum;        // [A, 1] running maximum of p_ij
  at::Tensor exp_sum;        // [A, 1] sum_j exp(p_ij - maximum)
  at::Tensor exp_rows;       // [A, D] sum_j exp(p_ij - maximum) z_j
  at::Tensor positive_rows;  // [A, D] sum_{P(i)} z_j
  at::Tensor positives;      // [A, 1] |P(i)|
  at::Tensor poison;         // []     0, or NaN once a column was not finite
};

void add_columns(const at::Tensor& anchors, const Columns& columns, double temperature,
                 bool exp_rows, RunningSums& sums) {
  auto pairs = anchors.matmul(columns.rows.t()).div_(temperature);
  pairs.masked_fill_(columns.excluded, kMinusInfinity);
  const auto maximum = at::maximum(sums.maximum, pairs.amax(1, true));
  // An anchor without any pair so far has no maximum to subtract.
  const auto shift = maximum.masked_fill(maximum == kMinusInfinity, 0);
  const auto rescale = (sums.maximum - shift).exp();
  pairs.sub_(shift).exp_();
  if (columns.weights.defined()) pairs.mul_(columns.weights);
  sums.exp_sum.mul_(rescale).add_(pairs.sum(1, true));
  if (exp_rows) sums.exp_rows.mul_(rescale).addmm_(pairs, columns.rows);
  sums.maximum = maximum;
  sums.positive_rows.add_(columns.match.to(at::kDouble).matmul(columns.rows.to(at::kDouble)));
  sums.positives.add_(columns.match.sum(1, true));
  sums.poison.add_(columns.rows.mul(0).sum());
}

// exp(logits - log_partition), of float64. What a cast rounds away of it is subtracted by itself.
at::Tensor exp_below(const at::Tensor& logits, const at::Tensor& log_partition) {
  const auto high = log_partition.to(logits.scalar_type());
  const auto low = (log_partition - high).to(logits.scalar_type());
  return (logits - high).sub_(low).exp_();
}

// t, [A, C]: the soft targets or, without them, 1 - label_smoothing for the class of the anchor, an
// equal share of the rest elsewhere.
at::Tensor targets_of(const OptionalTensor& soft_targets, const at::Tensor& labels,
                      int64_t num_classes, double label_smoothing,
                      const at::TensorOptions& options) {
  if (soft_targets) return soft_targets->to(options.dtype());
  const double off = num_classes > 1 ? label_smoothing / static_cast<double>(num_classes - 1) : 0;
  auto targets = at::full({labels.size(0), num_classes}, off, options);
  return targets.scatter_(1, labels.unsqueeze(1), 1 - label_smoothing);
}

}  // namespace

void check_soft_targets(const at::Tensor& targets) {
  // NaN is let through: it gives NaN in the loss.
  check_values("paco_loss", targets.lt(0).any().logical_not_(), "soft_targets must be >= 0");
  const auto deviation = (targets.sum(1, false, at::kDouble) - 1).abs();
  check_values("paco_loss", deviation.gt(kSoftTargetTolerance).any().logical_not_(),
               "soft_targets must have rows that sum to 1");
}

PaCoLossState paco_loss_forward(const PaCoLossArguments& args, bool features_grad) {
  const auto& [alpha, temperature, beta, gamma, optional_base_temperature, label_smoothing] =
      args.options;
  const double base_temperature = optional_base_temperature.value_or(temperature);
  const at::Tensor& features = args.features;
  const at::Tensor& labels = args.labels;
  const OptionalTensor& center_logits = args.center_logits;
  const OptionalTensor& queue = args.queue;
  const OptionalTensor& num_valid = args.num_valid;
  const int64_t num_anchors = args.count_anchors().expect_int();
  const auto dtype = accumulate_type(features.scalar_type());
  const auto options = features.options().dtype(dtype);
  const int64_t num_rows = features.size(0);
  const int64_t dim = features.size(1);

  const int64_t num_classes = center_logits       ? center_logits->size(1)
                              : args.class_counts ? args.class_counts->size(0)
                                                  : std::numeric_limits<int64_t>::max();
  const auto in_range = [&](const at::Tensor& values) {
    return values.ge(0).logical_and_(values.lt(num_classes));
  };
  const auto check = [&](const at::Tensor& all_true, const char* message) {
    check_values(args.name(), all_true, message);
  };
  check(in_range(labels).all(), "labels must lie in [0, C), C the number of classes");
  if (args.anchor_weight) {
    // NaN is let through: it gives NaN in the loss.
    check(args.anchor_weight->lt(0).logical_not_().all(), "anchor_weight must be >= 0");
  }
  if (args.soft_targets) check_soft_targets(*args.soft_targets);
  if (num_valid) {
    check(num_valid->ge(0).logical_and_(num_valid->le(queue->size(0))).all(),
          "num_valid must lie in [0, K], K the rows of queue");
  }
  if (queue) {
    auto passes = in_range(*args.queue_labels);
    if (num_valid) {
      passes = passes.logical_or(at::arange(queue->size(0), labels.options()).ge(*num_valid));
    }
    check(passes.all(), "queue_labels must lie in [0, C), C the number of classes");
  }

  const auto anchors = features.narrow(0, 0, num_anchors).to(dtype);
  const auto anchor_labels = labels.narrow(0, 0, num_anchors).unsqueeze(1);
  const auto anchor_index = at::arange(num_anchors, labels.options()).unsqueeze(1);
  const auto sum_options = options.dtype(at::kDouble);
  RunningSums sums{at::full({num_anchors, 1}, kMinusInfinity, options),
                   at::zeros({num_anchors, 1}, sum_options),
                   at::zeros({num_anchors, dim}, options),
                   at::zeros({num_anchors, dim}, sum_options),
                   at::zeros({num_anchors, 1}, sum_options),
                   at::zeros({}, options)};
  const auto add = [&](const at::Tensor& rows, const at::Tensor& row_labels,
                       const at::Tensor& excluded) {
    const auto match = anchor_labels.eq(row_labels).logical_and_(excluded.logical_not());
    add_columns(anchors,
                {rows, excluded, match.to(dtype),
                 pair_weights(args.class_counts, anchor_labels, row_labels, dtype)},
                temperature, features_grad, sums);
  };
  for (int64_t begin = 0; begin < num_rows; begin += kTileColumns) {
    const int64_t size = std::min(kTileColumns, num_rows - begin);
    const auto index = at::arange(begin, begin + size, labels.options());
    add(features.narrow(0, begin, size).to(dtype), labels.narrow(0, begin, size),
        anchor_index.eq(index));
  }
  for (int64_t begin = 0; queue && begin < queue->size(0); begin += kTileColumns) {
    const int64_t size = std::min(kTileColumns, queue->size(0) - begin);
    const auto index = at::arange(begin, begin + size, labels.options());
    const auto invalid = num_valid ? index.ge(*num_valid) : at::zeros_like(index, at::kBool);
    add(queue->narrow(0, begin, size).to(dtype).masked_fill(invalid.unsqueeze(1), 0),
        args.queue_labels->narrow(0, begin, size), invalid.expand({num_anchors, size}));
  }

  // L_i joins centers and pairs under one maximum. gamma weighs exponentials, so 0 is no special
  // case.
  auto maximum = gamma > 0 ? sums.maximum : at::full_like(sums.maximum, kMinusInfinity);
  at::Tensor logits;
  if (center_logits) {
    logits = center_logits->to(dtype);
    maximum = at::maximum(maximum, logits.amax(1, true));
  }
  maximum = maximum.masked_fill(maximum == kMinusInfinity, 0);
  const auto pair_scale =
      gamma > 0 ? (sums.maximum - maximum).exp().mul_(gamma) : at::zeros_like(sums.maximum);
  auto partition = sums.exp_sum * pair_scale;
  if (center_logits) partition = partition + (logits - maximum).exp().sum(1, true);
  const auto log_partition = maximum.to(at::kDouble) + partition.log();

  const double center_weight = center_logits ? beta : 0;
  const auto pair_weight = sums.positives * alpha + center_weight;
  auto log_likelihood =
      ((anchors * sums.positive_rows).sum(1, true) / temperature - sums.positives * log_partition) *
      alpha;
  if (center_logits) {
    const auto target = (targets_of(args.soft_targets, labels.narrow(0, 0, num_anchors),
                                    logits.size(1), label_smoothing, options) *
                         logits)
                            .sum(1, true);
    log_likelihood = log_likelihood + (target - log_partition) * center_weight;
    sums.poison.add_(logits.mul(0).sum() + target.mul(0).sum());
  }
  // An anchor without center and positives has no loss; every other value keeps its NaN.
  const auto idle = pair_weight == 0;
  auto per_anchor = (log_likelihood / pair_weight * -(temperature / base_temperature))
                        .masked_fill(idle, 0)
                        .squeeze(1);
  if (args.anchor_weight) {
    per_anchor = per_anchor * args.anchor_weight->to(dtype);
    sums.poison.add_(args.anchor_weight->to(dtype).mul(0).sum());
  }
  const auto loss = (per_anchor.mean() + sums.poison).to(dtype);

  at::Tensor anchor_grad = at::empty({0}, options);
  if (features_grad) {
    // alpha / W of an anchor without positives may be any number.
    const auto positive_scale = (alpha / pair_weight).masked_fill(sums.positives == 0, 0);
    anchor_grad = (sums.exp_rows * (pair_scale / partition) - sums.positive_rows * positive_scale)
                      .masked_fill(idle, 0)
                      .to(dtype);
  }
  return {loss, log_partition.squeeze(1), pair_weight.squeeze(1).to(dtype), anchor_grad};
}

PaCoLossInputGradients paco_loss_backward(const PaCoLossBackwardArguments& args) {
  const auto& [alpha, temperature, beta, gamma, optional_base_temperature, label_smoothing] =
      args.options;
  const double base_temperature = optional_base_temperature.value_or(temperature);
  const at::Tensor& features = args.features;
  const at::Tensor& labels = args.labels;
  const at::Tensor& log_partition = args.log_partition;
  const auto dtype = accumulate_type(features.scalar_type());
  const auto options = features.options().dtype(dtype);
  const int64_t num_anchors = log_partition.size(0);
  const int64_t num_rows = features.size(0);
  const auto labels_of_anchors = labels.narrow(0, 0, num_anchors);
  const auto weight = args.pair_weight.unsqueeze(1);
  // upstream / A, times the weight of the anchor; 0 for an anchor without center and positives.
  auto scale = (args.grad_loss / (static_cast<double>(num_anchors) * base_temperature)).to(dtype);
  scale = args.anchor_weight ? scale * args.anchor_weight->to(dtype).unsqueeze(1)
                             : scale.expand({num_anchors, 1});
  scale = scale.masked_fill(weight == 0, 0);

  auto grad_features = at::empty({0}, features.options());
  if (args.features_grad) {
    const auto anchors = features.narrow(0, 0, num_anchors).to(dtype);
    auto gradient = at::empty(features.sizes(), options);
    const auto positive_scale = scale * (alpha / weight).masked_fill(weight == 0, 0);
    const auto anchor_index = at::arange(num_anchors, labels.options()).unsqueeze(1);
    for (int64_t begin = 0; begin < num_rows; begin += kTileColumns) {
      const int64_t size = std::min(kTileColumns, num_rows - begin);
      const auto rows = features.narrow(0, begin, size).to(dtype);
      auto pairs = at::zeros({num_anchors, size}, options);
      // L has no pairs in it without gamma, and exp(p - L) may be beyond any number.
      if (gamma > 0) {
        pairs = exp_below(anchors.matmul(rows.t()).div_(temperature),
                          (log_partition - std::log(gamma)).unsqueeze(1))
                    .mul_(scale);
      }
      const auto row_labels = labels.narrow(0, begin, size);
      const auto weights =
          pair_weights(args.class_counts, labels_of_anchors.unsqueeze(1), row_labels, dtype);
      if (weights.defined()) pairs.mul_(weights);
      const auto match = labels_of_anchors.unsqueeze(1).eq(row_labels);
      pairs.sub_(at::where(match, positive_scale, 0));
      pairs.masked_fill_(anchor_index.eq(at::arange(begin, begin + size, labels.options())), 0);
      gradient.narrow(0, begin, size).copy_(pairs.t().matmul(anchors));
    }
    gradient.narrow(0, 0, num_anchors).add_(args.anchor_grad * scale);
    grad_features = gradient.to(features.scalar_type());
  }

  auto grad_center_logits = at::empty({0}, features.options());
  if (args.center_logits_grad) {
    const auto targets = targets_of(args.soft_targets, labels_of_anchors,
                                    args.center_logits->size(1), label_smoothing, options);
    grad_center_logits = (exp_below(args.center_logits->to(dtype), log_partition.unsqueeze(1)) -
                          targets * (beta / weight))
                             .masked_fill(weight == 0, 0)
                             .mul_(scale * temperature)
                             .to(args.center_logits->scalar_type());
  }
  return {grad_features, grad_center_logits};
}

}  // namespace paco::composite
