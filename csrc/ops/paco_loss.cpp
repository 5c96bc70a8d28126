#include "paco_loss.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <utility>

#include "paco_loss_dispatch.h"

namespace paco {
namespace {

using PaCoLossSignature = at::Tensor(const at::Tensor&, const at::Tensor&,
                                     const std::optional<at::Tensor>&,
                                     const std::optional<at::Tensor>&,
                                     const std::optional<at::Tensor>&, c10::SymInt,
                                     const std::optional<at::Tensor>&, double, double, double,
                                     double, std::optional<double>, double,
                                     const std::optional<at::Tensor>&);

// Without autograd the loss alone is computed.
at::Tensor paco_loss_without_grad(const at::Tensor& features, const at::Tensor& labels,
                                  const std::optional<at::Tensor>& center_logits,
                                  const std::optional<at::Tensor>& queue,
                                  const std::optional<at::Tensor>& queue_labels,
                                  c10::SymInt num_anchors,
                                  const std::optional<at::Tensor>& queue_size, double alpha,
                                  double beta, double gamma, double temperature,
                                  std::optional<double> base_temperature, double label_smoothing,
                                  const std::optional<at::Tensor>& anchor_weight) {
  return std::get<0>(paco_loss_forward(features, labels, center_logits, queue, queue_labels,
                                       std::move(num_anchors), queue_size, alpha, beta, gamma,
                                       temperature, base_temperature.value_or(temperature),
                                       label_smoothing, anchor_weight,
                                       /*features_grad=*/false));
}

}  // namespace

at::Tensor paco_loss(const at::Tensor& features, const at::Tensor& labels,
                     const std::optional<at::Tensor>& center_logits,
                     const std::optional<at::Tensor>& queue,
                     const std::optional<at::Tensor>& queue_labels, c10::SymInt num_anchors,
                     const std::optional<at::Tensor>& queue_size, const PaCoLossOptions& options,
                     const std::optional<at::Tensor>& anchor_weight) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("paco::paco_loss", "")
                             .typed<PaCoLossSignature>();
  return op.call(features, labels, center_logits, queue, queue_labels, std::move(num_anchors),
                 queue_size, options.alpha, options.beta, options.gamma, options.temperature,
                 options.base_temperature, options.label_smoothing, anchor_weight);
}

PaCoLossState paco_loss_forward(
    const at::Tensor& features, const at::Tensor& labels,
    const std::optional<at::Tensor>& center_logits, const std::optional<at::Tensor>& queue,
    const std::optional<at::Tensor>& queue_labels, c10::SymInt num_anchors,
    const std::optional<at::Tensor>& queue_size, double alpha, double beta, double gamma,
    double temperature, double base_temperature, double label_smoothing,
    const std::optional<at::Tensor>& anchor_weight, bool features_grad) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("paco::paco_loss_forward", "")
                             .typed<decltype(paco_loss_forward)>();
  return op.call(features, labels, center_logits, queue, queue_labels, std::move(num_anchors),
                 queue_size, alpha, beta, gamma, temperature, base_temperature, label_smoothing,
                 anchor_weight, features_grad);
}

std::tuple<at::Tensor, at::Tensor> paco_loss_backward(
    const at::Tensor& grad_loss, const at::Tensor& features, const at::Tensor& labels,
    const std::optional<at::Tensor>& center_logits, const std::optional<at::Tensor>& anchor_weight,
    const at::Tensor& log_partition, const at::Tensor& pair_weight, const at::Tensor& anchor_grad,
    double alpha, double beta, double gamma, double temperature, double base_temperature,
    double label_smoothing, bool features_grad, bool center_logits_grad) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("paco::paco_loss_backward", "")
                             .typed<decltype(paco_loss_backward)>();
  return op.call(grad_loss, features, labels, center_logits, anchor_weight, log_partition,
                 pair_weight, anchor_grad, alpha, beta, gamma, temperature, base_temperature,
                 label_smoothing, features_grad, center_logits_grad);
}

}  // namespace paco

TORCH_LIBRARY_IMPL(paco, CompositeExplicitAutograd, m) {
  m.impl("paco_loss", TORCH_FN(paco::paco_loss_without_grad));
}
