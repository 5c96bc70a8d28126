#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "check_values.h"
#include "paco_loss_columns.h"

namespace paco::composite {
namespace {

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

// The columns that are here, and what makes a loss of them.
struct Share {
  const char* op;
  const Anchors& anchors;
  const at::Tensor& features;
  const at::Tensor& labels;
  const OptionalTensor& center_logits;
  const OptionalTensor& queue;
  const OptionalTensor& queue_labels;
  const OptionalTensor& num_valid;
  const OptionalTensor& soft_targets;
  const OptionalTensor& class_counts;
  const PaCoLossOptions& options;
};

// What columns leave of each anchor: [A, 1] float64, and rows [A, D].
struct AnchorSums {
  at::Tensor pair_maximum;
  at::Tensor pair_sum;
  at::Tensor center_maximum;
  at::Tensor center_sum;
  at::Tensor target;
  at::Tensor positives;
  at::Tensor exp_rows;
  at::Tensor positive_rows;  // float64
};

void check_rows_of_anchors(const Anchors& anchors, int64_t num_rows,
                           const OptionalTensor& center_logits,
                           const OptionalTensor& soft_targets) {
  const auto check = [](const at::Tensor& all_true, const char* message) {
    check_values("paco_loss_partial", all_true, message);
  };
  const auto rows = anchors.index.squeeze(1);
  check(rows.ge(-1).logical_and_(rows.lt(num_rows)).all(),
        "anchor_rows must lie in [-1, M), M the rows of features");
  const auto times =
      at::zeros({num_rows + 1}, rows.options())
          .index_add(0, rows.clamp(-1, num_rows - 1).remainder(num_rows + 1), at::ones_like(rows))
          .narrow(0, 0, num_rows);
  check(times.le(1).all(), "anchor_rows must name a row once");
  if (center_logits && !anchors.has_class_share) {
    const auto expected = at::arange(num_rows, rows.options()).lt(center_logits->size(0));
    check(times.eq(expected).all(),
          "center_logits must have one row for each anchor among the first rows of features");
  }
  if (soft_targets && !anchors.has_class_share) check_soft_targets(*soft_targets);
  if (soft_targets && anchors.has_class_share) {
    check(soft_targets->lt(0).any().logical_not_(), "soft_targets must be >= 0");
  }
}

void check_share(const Share& share) {
  const auto in_range = [&](const at::Tensor& values) {
    return values.ge(0).logical_and_(values.lt(share.anchors.num_classes));
  };
  const auto check = [&](const at::Tensor& all_true, const char* message) {
    check_values(share.op, all_true, message);
  };
  check(in_range(share.labels).all(), "labels must lie in [0, C), C the number of classes");
  const OptionalTensor& num_valid = share.num_valid;
  if (num_valid) {
    check(num_valid->ge(0).logical_and_(num_valid->le(share.queue->size(0))).all(),
          "num_valid must lie in [0, K], K the rows of queue");
  }
  if (share.queue) {
    auto passes = in_range(*share.queue_labels);
    if (num_valid) {
      const auto index = at::arange(share.queue->size(0), share.labels.options());
      passes = passes.logical_or(index.ge(*num_valid));
    }
    check(passes.all(), "queue_labels must lie in [0, C), C the number of classes");
  }
  if (share.anchors.are_first_rows) {
    if (share.soft_targets) check_soft_targets(*share.soft_targets);
    return;
  }
  check(in_range(share.anchors.labels).all(),
        "anchor_labels must lie in [0, C), C the number of classes");
  check_rows_of_anchors(share.anchors, share.features.size(0), share.center_logits,
                        share.soft_targets);
}

AnchorSums sum_columns(const Share& share, bool features_grad) {
  check_share(share);
  const auto& [alpha, temperature, beta, gamma, base_temperature, label_smoothing] = share.options;
  const Anchors& anchors = share.anchors;
  const at::Tensor& labels = share.labels;
  const OptionalTensor& queue = share.queue;
  const auto options = anchors.rows.options();
  const auto dtype = anchors.rows.scalar_type();
  const int64_t num_anchors = anchors.rows.size(0);
  const int64_t dim = anchors.rows.size(1);
  const auto sum_options = options.dtype(at::kDouble);
  RunningSums sums{at::full({num_anchors, 1}, kMinusInfinity, options),
                   at::zeros({num_anchors, 1}, sum_options),
                   at::zeros({num_anchors, dim}, options),
                   at::zeros({num_anchors, dim}, sum_options),
                   at::zeros({num_anchors, 1}, sum_options),
                   at::zeros({}, options)};
  const auto add = [&](const at::Tensor& rows, const at::Tensor& row_labels,
                       const at::Tensor& excluded) {
    const auto match = anchors.labels.eq(row_labels).logical_and_(excluded.logical_not());
    add_columns(anchors.rows,
                {rows, excluded, match.to(dtype),
                 pair_weights(share.class_counts, anchors.labels, row_labels, dtype)},
                temperature, features_grad, sums);
  };
  for (int64_t begin = 0; begin < share.features.size(0); begin += kTileColumns) {
    const int64_t size = std::min(kTileColumns, share.features.size(0) - begin);
    const auto index = at::arange(begin, begin + size, labels.options());
    add(share.features.narrow(0, begin, size).to(dtype), labels.narrow(0, begin, size),
        anchors.index.eq(index));
  }
  for (int64_t begin = 0; queue && begin < queue->size(0); begin += kTileColumns) {
    const int64_t size = std::min(kTileColumns, queue->size(0) - begin);
    const auto index = at::arange(begin, begin + size, labels.options());
    const auto invalid =
        share.num_valid ? index.ge(*share.num_valid) : at::zeros_like(index, at::kBool);
    add(queue->narrow(0, begin, size).to(dtype).masked_fill(invalid.unsqueeze(1), 0),
        share.queue_labels->narrow(0, begin, size), invalid.expand({num_anchors, size}));
  }

  AnchorSums result;
  // gamma weighs exponentials, so 0 is no special case but for the maximum, in which pairs without
  // weight have no say.
  result.pair_maximum = gamma > 0 ? sums.maximum.to(at::kDouble)
                                  : at::full({num_anchors, 1}, kMinusInfinity, sum_options);
  result.pair_sum = gamma > 0 ? sums.exp_sum : at::zeros_like(sums.exp_sum);
  result.exp_rows = gamma > 0 ? sums.exp_rows : at::zeros_like(sums.exp_rows);
  result.positives = sums.positives;
  result.positive_rows = sums.positive_rows;
  result.center_maximum = at::full({num_anchors, 1}, kMinusInfinity, sum_options);
  result.center_sum = at::zeros({num_anchors, 1}, sum_options);
  result.target = at::zeros({num_anchors, 1}, sum_options);
  if (share.center_logits && share.center_logits->size(0) > 0) {
    const auto logits = share.center_logits->to(dtype);
    const auto maximum = logits.amax(1, true);
    const auto shift = maximum.masked_fill(maximum == kMinusInfinity, 0);
    const auto row_labels = anchors.to_center_rows(anchors.labels, logits.size(0));
    const auto targets = targets_of(anchors, share.soft_targets, row_labels, logits.size(1),
                                    label_smoothing, options);
    const auto to_anchors = [&](const at::Tensor& x) {
      return anchors.of_center_rows(x.to(at::kDouble));
    };
    result.center_sum = to_anchors((logits - shift).exp().sum(1, true, at::kDouble));
    result.center_maximum = to_anchors(maximum).masked_fill(result.center_sum == 0, kMinusInfinity);
    result.target = to_anchors((targets * logits).sum(1, true));
    sums.poison.add_(logits.mul(0).sum());
  }
  result.target = result.target + sums.poison;
  return result;
}

PaCoLossCombined finish(const AnchorSums& sums, const at::Tensor& anchors,
                        const OptionalTensor& anchor_weight, const PaCoLossOptions& options,
                        double center_weight, bool features_grad) {
  const auto dtype = anchors.scalar_type();
  const double alpha = options.alpha;
  const double temperature = options.temperature;
  const double base_temperature = options.base_temperature.value_or(temperature);
  // L_i joins centers and pairs under one maximum.
  auto maximum = at::maximum(sums.pair_maximum, sums.center_maximum);
  maximum = maximum.masked_fill(maximum == kMinusInfinity, 0);
  const auto pair_scale = (sums.pair_maximum - maximum).exp().mul_(options.gamma);
  const auto partition =
      sums.pair_sum * pair_scale + sums.center_sum * (sums.center_maximum - maximum).exp();
  const auto log_partition = maximum + partition.log();

  const auto pair_weight = sums.positives * alpha + center_weight;
  auto log_likelihood =
      ((anchors * sums.positive_rows).sum(1, true) / temperature - sums.positives * log_partition) *
      alpha;
  if (center_weight > 0) {
    log_likelihood = log_likelihood + (sums.target - log_partition) * center_weight;
  }
  // An anchor without center and positives has no loss; every other value keeps its NaN.
  const auto idle = pair_weight == 0;
  auto losses = (log_likelihood / pair_weight * -(temperature / base_temperature))
                    .masked_fill(idle, 0)
                    .add(sums.target * 0)
                    .squeeze(1);
  if (anchor_weight) {
    // NaN is let through: it gives NaN in the loss.
    check_values("paco_loss", anchor_weight->lt(0).logical_not_().all(),
                 "anchor_weight must be >= 0");
    losses = losses * anchor_weight->to(at::kDouble);
  }
  at::Tensor anchor_grad = at::empty({0}, anchors.options());
  if (features_grad) {
    // alpha / W of an anchor without positives may be any number.
    const auto positive_scale = (alpha / pair_weight).masked_fill(sums.positives == 0, 0);
    anchor_grad = (sums.exp_rows * (pair_scale / partition) - sums.positive_rows * positive_scale)
                      .masked_fill(idle, 0)
                      .to(dtype);
  }
  return {losses, log_partition.squeeze(1), pair_weight.squeeze(1).to(dtype), anchor_grad};
}

// The records of all shares as one.
AnchorSums join(const PaCoLossCombineArguments& args) {
  const auto column = [&](int64_t k) { return args.sums.narrow(2, k, 1); };  // [S, A, 1]
  const auto maximum_of = [](const at::Tensor& maxima) { return maxima.amax(0, true); };
  const auto scale_of = [](const at::Tensor& maxima, const at::Tensor& maximum) {
    return (maxima - maximum.masked_fill(maximum == kMinusInfinity, 0)).exp();
  };
  const auto pair_maximum = maximum_of(column(0));
  const auto center_maximum = maximum_of(column(2));
  const auto pair_scale = scale_of(column(0), pair_maximum);
  const auto center_scale = scale_of(column(2), center_maximum);
  AnchorSums sums{pair_maximum.squeeze(0),
                  (column(1) * pair_scale).sum(0),
                  center_maximum.squeeze(0),
                  (column(3) * center_scale).sum(0),
                  column(4).sum(0),
                  column(5).sum(0),
                  {},
                  args.rows.select(2, 0).sum(0, false, at::kDouble)};
  if (args.features_grad()) sums.exp_rows = (args.rows.select(2, 1) * pair_scale).sum(0);
  return sums;
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
  const at::Tensor& features = args.features;
  const auto dtype = accumulate_type(features.scalar_type());
  const Anchors anchors = anchors_of(args, args.count_anchors().expect_int(), dtype);
  const auto sums = sum_columns(
      {args.name(), anchors, features, args.labels, args.center_logits, args.queue,
       args.queue_labels, args.num_valid, args.soft_targets, args.class_counts, args.options},
      features_grad);
  auto [losses, log_partition, pair_weight, anchor_grad] =
      finish(sums, anchors.rows, args.anchor_weight, args.options,
             args.center_logits ? args.options.beta : 0, features_grad);
  return {losses.mean().to(dtype), log_partition, pair_weight, anchor_grad};
}

void check_anchor_rows(const PaCoLossPartialArguments& args) {
  check_rows_of_anchors(anchors_of(args, args.anchors.scalar_type()), args.features.size(0),
                        args.center_logits, args.soft_targets);
}

at::Tensor anchor_of_row(const PaCoLossPartialArguments& args) {
  const int64_t num_rows = args.features.size(0);
  const at::Tensor& rows = args.anchor_rows;
  const auto none = at::full({num_rows + 1}, -1, rows.options());
  const auto where = rows.masked_fill(rows.lt(0), num_rows);
  return none.scatter(0, where, at::arange(rows.size(0), rows.options())).narrow(0, 0, num_rows);
}

PaCoLossRecord paco_loss_partial(const PaCoLossPartialArguments& args, bool features_grad) {
  const auto dtype = accumulate_type(args.features.scalar_type());
  const Anchors anchors = anchors_of(args, dtype);
  const auto sums = sum_columns(
      {"paco_loss_partial", anchors, args.features, args.labels, args.center_logits, args.queue,
       args.queue_labels, args.num_valid, args.soft_targets, args.class_counts, args.options},
      features_grad);
  std::vector<at::Tensor> rows{sums.positive_rows.to(dtype)};
  if (features_grad) rows.push_back(sums.exp_rows);
  return {at::cat({sums.pair_maximum, sums.pair_sum, sums.center_maximum, sums.center_sum,
                   sums.target, sums.positives},
                  1),
          at::stack(rows, 1)};
}

PaCoLossCombined paco_loss_combine(const PaCoLossCombineArguments& args) {
  const auto anchors = args.anchors.to(accumulate_type(args.anchors.scalar_type()));
  return finish(join(args), anchors, args.anchor_weight, args.options, args.options.beta,
                args.features_grad());
}

}  // namespace paco::composite
