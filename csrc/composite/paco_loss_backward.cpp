#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "paco_loss_columns.h"

namespace paco::composite {
namespace {

// exp(logits - log_partition), of float64. What a cast rounds away of it is subtracted by itself.
at::Tensor exp_below(const at::Tensor& logits, const at::Tensor& log_partition) {
  const auto high = log_partition.to(logits.scalar_type());
  const auto low = (log_partition - high).to(logits.scalar_type());
  return (logits - high).sub_(low).exp_();
}

// The columns to which gradients flow, and what the forward pass left of the anchors.
struct GradientColumns {
  const Anchors& anchors;
  const at::Tensor& features;
  const at::Tensor& labels;
  const OptionalTensor& center_logits;
  const OptionalTensor& soft_targets;
  const OptionalTensor& class_counts;
  const PaCoLossOptions& options;
  const at::Tensor& log_partition;  // [A]
  at::Tensor pair_weight;           // [A, 1]
  const at::Tensor& anchor_grad;
  at::Tensor scale;  // [A, 1] gradient to l_i / T_base; 0 for an anchor without center, positives
};

at::Tensor features_gradient(const GradientColumns& columns) {
  const auto& [alpha, temperature, beta, gamma, base_temperature, label_smoothing] =
      columns.options;
  const Anchors& anchors = columns.anchors;
  const at::Tensor& features = columns.features;
  const at::Tensor& weight = columns.pair_weight;
  const at::Tensor& scale = columns.scale;
  const auto dtype = anchors.rows.scalar_type();
  const auto options = anchors.rows.options();
  const int64_t num_anchors = anchors.rows.size(0);
  auto gradient = at::empty(features.sizes(), options);
  const auto positive_scale = scale * (alpha / weight).masked_fill(weight == 0, 0);
  for (int64_t begin = 0; begin < features.size(0); begin += kTileColumns) {
    const int64_t size = std::min(kTileColumns, features.size(0) - begin);
    const auto rows = features.narrow(0, begin, size).to(dtype);
    auto pairs = at::zeros({num_anchors, size}, options);
    // L has no pairs in it without gamma, and exp(p - L) may be beyond any number.
    if (gamma > 0) {
      pairs = exp_below(anchors.rows.matmul(rows.t()).div_(temperature),
                        (columns.log_partition - std::log(gamma)).unsqueeze(1))
                  .mul_(scale);
    }
    const auto row_labels = columns.labels.narrow(0, begin, size);
    const auto weights = pair_weights(columns.class_counts, anchors.labels, row_labels, dtype);
    if (weights.defined()) pairs.mul_(weights);
    pairs.sub_(at::where(anchors.labels.eq(row_labels), positive_scale, 0));
    const auto index = at::arange(begin, begin + size, row_labels.options());
    pairs.masked_fill_(anchors.index.eq(index), 0);
    gradient.narrow(0, begin, size).copy_(pairs.t().matmul(anchors.rows));
  }
  const int64_t own = columns.anchor_grad.size(0);
  gradient.narrow(0, 0, own).add_(columns.anchor_grad * anchors.to_rows(scale, own));
  return gradient.to(features.scalar_type());
}

at::Tensor centers_gradient(const GradientColumns& columns) {
  const PaCoLossOptions& options = columns.options;
  const Anchors& anchors = columns.anchors;
  const at::Tensor& logits = *columns.center_logits;
  const int64_t rows = logits.size(0);
  const auto of_rows = [&](const at::Tensor& x) { return anchors.to_center_rows(x, rows); };
  const auto weight = of_rows(columns.pair_weight);
  const auto targets = targets_of(anchors, columns.soft_targets, of_rows(anchors.labels),
                                  logits.size(1), options.label_smoothing, anchors.rows.options());
  return (exp_below(logits.to(anchors.rows.scalar_type()),
                    of_rows(columns.log_partition.unsqueeze(1))) -
          targets * (options.beta / weight))
      .masked_fill(weight == 0, 0)
      .mul_(of_rows(columns.scale) * options.temperature)
      .to(logits.scalar_type());
}

PaCoLossInputGradients gradients(const GradientColumns& columns, bool features_grad,
                                 bool center_logits_grad) {
  const auto unwanted = [&] { return at::empty({0}, columns.features.options()); };
  return {features_grad ? features_gradient(columns) : unwanted(),
          center_logits_grad ? centers_gradient(columns) : unwanted()};
}

}  // namespace

PaCoLossInputGradients paco_loss_backward(const PaCoLossBackwardArguments& args) {
  const at::Tensor& features = args.features;
  const auto dtype = accumulate_type(features.scalar_type());
  const int64_t num_anchors = args.log_partition.size(0);
  const double base_temperature = args.options.base_temperature.value_or(args.options.temperature);
  const Anchors anchors = anchors_of(args, num_anchors, dtype);
  const auto weight = args.pair_weight.unsqueeze(1);
  // upstream / A, times the weight of the anchor.
  auto scale = (args.grad_loss / (static_cast<double>(num_anchors) * base_temperature)).to(dtype);
  scale = args.anchor_weight ? scale * args.anchor_weight->to(dtype).unsqueeze(1)
                             : scale.expand({num_anchors, 1});
  return gradients({anchors, features, args.labels, args.center_logits, args.soft_targets,
                    args.class_counts, args.options, args.log_partition, weight, args.anchor_grad,
                    scale.masked_fill(weight == 0, 0)},
                   args.features_grad, args.center_logits_grad);
}

PaCoLossInputGradients paco_loss_partial_backward(const PaCoLossPartialBackwardArguments& args) {
  const PaCoLossPartialArguments& share = args.share;
  const double base_temperature =
      share.options.base_temperature.value_or(share.options.temperature);
  const Anchors anchors = anchors_of(share, accumulate_type(share.features.scalar_type()));
  const auto weight = args.pair_weight.unsqueeze(1);
  const auto scale = (args.grad_losses / base_temperature).unsqueeze(1).masked_fill(weight == 0, 0);
  return gradients(
      {anchors, share.features, share.labels, share.center_logits, share.soft_targets,
       share.class_counts, share.options, args.log_partition, weight, args.anchor_grad, scale},
      args.features_grad, args.center_logits_grad);
}

}  // namespace paco::composite
