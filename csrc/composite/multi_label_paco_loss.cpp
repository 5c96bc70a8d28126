#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include "../ops/paco_loss.h"
#include "../ops/tensor_checks.h"
#include "composite.h"

namespace paco::composite {
namespace {

// Rows of unit length, or of zeros for a row without a class.
at::Tensor unit_labels(const at::Tensor& labels) {
  return labels.to(at::kDouble) / labels.sum(1, true).clamp_min(1).to(at::kDouble).sqrt();
}

// Sums over all rows of batch and queue, class by class: what an anchor needs of its positives. A
// class may be as long as the queue: sums are of float64, which autocast leaves alone too.
struct SumsOfClasses {
  at::Tensor rows;      // [C, D]     sum_j y_jc / |y_j| z_j
  at::Tensor overlaps;  // [C]        sum_j y_jc / |y_j|
  at::Tensor counts;    // [C] int64  how many rows have the class

  SumsOfClasses(const at::Tensor& labels, const at::Tensor& z) {
    const auto unit = unit_labels(labels);
    rows = unit.t().matmul(z.to(at::kDouble));
    overlaps = unit.sum(0);
    counts = labels.sum(0);
  }

  void add(const SumsOfClasses& others) {
    rows = rows + others.rows;
    overlaps = overlaps + others.overlaps;
    counts = counts + others.counts;
  }
};

}  // namespace

at::Tensor multi_label_paco_loss(const MultiLabelPaCoLossArguments& args) {
  check_multi_label_paco_loss(args);
  const auto& [alpha, temperature, beta, gamma, optional_base_temperature, label_smoothing] =
      args.options;
  const double base_temperature = optional_base_temperature.value_or(temperature);
  check_constant("multi_label_paco_loss", "anchor_weight", args.anchor_weight);
  const auto dtype = accumulate_type(args.features.scalar_type());
  const auto options = args.features.options().dtype(at::kLong);
  const c10::SymInt num_anchors = args.center_logits.sym_size(0);
  const c10::SymInt num_classes = args.center_logits.sym_size(1);

  // Once for both terms, whose gradients may cancel: rounding each to 16 bits would leave little.
  const auto features = args.features.to(dtype);
  const auto logits = args.center_logits.to(dtype);

  SumsOfClasses sums(args.labels, features);
  OptionalTensor queue, queue_classes;
  if (args.queue) {
    queue = args.queue->detach().to(dtype);
    auto rows = *queue;
    auto labels = *args.queue_labels;
    if (args.num_valid) {
      const auto valid =
          at::arange(at::Scalar(rows.sym_size(0)), options).lt(*args.num_valid).unsqueeze(1);
      rows = rows.masked_fill(valid.logical_not(), 0);
      labels = labels.logical_and(valid);
    }
    sums.add({labels, rows});
    queue_classes = at::zeros_symint({rows.sym_size(0)}, options);
  }

  const auto anchors = features.narrow_symint(0, 0, num_anchors).to(at::kDouble);
  const auto labels = args.labels.narrow_symint(0, 0, num_anchors);
  const auto unit_anchors = unit_labels(labels);
  const auto is_labelled = labels.any(1);
  // Counts tell an anchor without positives, where sums leave what rounding left of its own row.
  const auto has_positives = labels.logical_and(sums.counts.gt(1)).any(1);
  const auto of_positives = [&](const at::Tensor& sum) {
    return at::where(has_positives, sum, at::zeros({}, sum.options()));
  };
  const auto own = is_labelled.to(at::kDouble);
  const auto overlap = of_positives(unit_anchors.matmul(sums.overlaps) - own);
  const auto positive_rows = unit_anchors.matmul(sums.rows) - own.unsqueeze(1) * anchors;
  const auto positive_logits = of_positives((anchors * positive_rows).sum(1) / temperature);

  const auto weight = own * beta + overlap * alpha;  // W_i
  const auto counts = weight.gt(0);
  auto anchor_weight = counts.to(dtype);
  if (args.anchor_weight) anchor_weight = anchor_weight * args.anchor_weight->to(dtype);
  const auto target = labels.to(dtype) / labels.sum(1, true).clamp_min(1);
  const auto target_logits = (target * logits).sum(1);

  // l_i = (T / T_base) [ (L_i - t_i . s_i) + (alpha / W_i) sum_j a_ij (t_i . s_i - p_ij) ]
  const auto share = at::where(counts, alpha / weight, at::zeros({}, weight.options()));
  const auto positives = anchor_weight * share * (overlap * target_logits - positive_logits);
  const at::Tensor uniform = at::ones_like(target) / at::Scalar(num_classes);
  const auto centers =
      paco_loss(features, at::zeros_symint({features.sym_size(0)}, options), logits, queue,
                queue_classes, args.num_valid, anchor_weight, /*num_anchors=*/std::nullopt,
                {.alpha = 0,
                 .temperature = temperature,
                 .beta = 1,
                 .gamma = gamma,
                 .base_temperature = base_temperature},
                at::where(is_labelled.unsqueeze(1), target, uniform));
  return centers + (positives.mean() * (temperature / base_temperature)).to(dtype);
}

}  // namespace paco::composite
