#include "paco_loss.h"

#include <utility>

#include "find_operator.h"
#include "paco_loss_arguments.h"

namespace paco {

at::Tensor paco_loss(const at::Tensor& features, const at::Tensor& labels,
                     const std::optional<at::Tensor>& center_logits,
                     const std::optional<at::Tensor>& queue,
                     const std::optional<at::Tensor>& queue_labels,
                     const std::optional<at::Tensor>& num_valid,
                     const std::optional<at::Tensor>& anchor_weight,
                     std::optional<c10::SymInt> num_anchors, const PaCoLossOptions& options,
                     const std::optional<at::Tensor>& soft_targets, bool detach_keys) {
  return dispatch_paco_loss({features, labels, center_logits, queue, queue_labels, num_valid,
                             anchor_weight, std::move(num_anchors), options, soft_targets},
                            detach_keys);
}

at::Tensor dispatch_paco_loss(const PaCoLossArguments& args, bool detach_keys) {
  static const auto op =
      find_operator<decltype(paco_loss_adaptor<dispatch_paco_loss>)>("paco::paco_loss");
  const PaCoLossOptions& options = args.options;
  return op.call(args.features, args.labels, args.center_logits, args.queue, args.queue_labels,
                 args.num_valid, args.anchor_weight, args.num_anchors, options.beta, options.gamma,
                 options.base_temperature, options.label_smoothing, args.soft_targets, detach_keys,
                 options.alpha, options.temperature);
}

PaCoLossState paco_loss_forward(const PaCoLossArguments& args, bool features_grad) {
  static const auto op =
      find_operator<decltype(forward_adaptor<paco_loss_forward>)>("paco::paco_loss_forward");
  const PaCoLossOptions& options = args.options;
  auto [loss, log_partition, pair_weight, anchor_grad] =
      op.call(args.features, args.labels, args.center_logits, args.queue, args.queue_labels,
              args.num_valid, args.anchor_weight, args.num_anchors, options.beta, options.gamma,
              options.base_temperature, options.label_smoothing, args.soft_targets, options.alpha,
              options.temperature, features_grad, args.class_counts);
  return {loss, log_partition, pair_weight, anchor_grad};
}

PaCoLossInputGradients paco_loss_backward(const PaCoLossBackwardArguments& args) {
  static const auto op =
      find_operator<decltype(backward_adaptor<paco_loss_backward>)>("paco::paco_loss_backward");
  const PaCoLossOptions& options = args.options;
  auto [features, center_logits] =
      op.call(args.grad_loss, args.features, args.labels, args.center_logits, args.anchor_weight,
              args.log_partition, args.pair_weight, args.anchor_grad, options.beta, options.gamma,
              options.base_temperature, options.label_smoothing, args.soft_targets, options.alpha,
              options.temperature, args.features_grad, args.center_logits_grad, args.class_counts);
  return {features, center_logits};
}

}  // namespace paco
