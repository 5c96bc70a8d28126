#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>

#include "composite.h"

namespace paco::composite {
namespace {

// n_c over rows, prototypes and valid rows of the queue. A label out of range is counted somewhere:
// the kernels report it.
at::Tensor count_classes(const BCLLossArguments& args) {
  const int64_t num_classes = args.prototypes.size(0);
  auto counts = at::ones({num_classes}, args.labels.options());
  const auto add = [&](const at::Tensor& labels, const at::Tensor& valid) {
    counts.scatter_add_(0, labels.clamp(0, num_classes - 1), valid);
  };
  add(args.labels, at::ones_like(args.labels));
  if (args.queue) {
    const at::Tensor& labels = *args.queue_labels;
    add(labels, args.num_valid
                    ? at::arange(labels.size(0), labels.options()).lt(*args.num_valid).to(at::kLong)
                    : at::ones_like(labels));
  }
  return counts;
}

}  // namespace

BCLLossState bcl_loss_forward(const BCLLossArguments& args, bool gradient) {
  const PaCoLossOptions options{.alpha = 1, .temperature = args.temperature};
  const auto rows = at::cat({args.features, args.prototypes});
  const auto classes = at::arange(args.prototypes.size(0), args.labels.options());
  const auto labels = at::cat({args.labels, classes});
  const OptionalTensor counts = count_classes(args);
  const auto state = paco::paco_loss_forward(
      {rows, labels,
       /*center_logits=*/kNone, args.queue, args.queue_labels, args.num_valid,
       /*anchor_weight=*/kNone, args.features.size(0), options,
       /*soft_targets=*/kNone, counts},
      gradient);
  if (!gradient) return {state.loss, at::empty({0}, args.features.options())};
  const auto gradients = paco::paco_loss_backward({.grad_loss = at::ones_like(state.loss),
                                                   .features = rows,
                                                   .labels = labels,
                                                   .center_logits = kNone,
                                                   .anchor_weight = kNone,
                                                   .log_partition = state.log_partition,
                                                   .pair_weight = state.pair_weight,
                                                   .anchor_grad = state.anchor_grad,
                                                   .options = options,
                                                   .soft_targets = kNone,
                                                   .features_grad = true,
                                                   .center_logits_grad = false,
                                                   .class_counts = counts});
  return {state.loss, gradients.features};
}

at::Tensor bcl_loss_backward(const BCLLossBackwardArguments& args) {
  return args.gradient * args.grad_loss;
}

}  // namespace paco::composite
