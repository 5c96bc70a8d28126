#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <optional>
#include <utility>

#include "../paco_loss_dispatch.h"

namespace paco {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

struct Scalars {
  double alpha;
  double beta;
  double gamma;
  double temperature;
  double base_temperature;
  double label_smoothing;
};

std::optional<at::Tensor> as_optional(const Variable& saved) {
  return saved.defined() ? std::optional<at::Tensor>(saved) : std::nullopt;
}

class PaCoLossFunction : public torch::autograd::Function<PaCoLossFunction> {
 public:
  static Variable forward(AutogradContext* context, const Variable& features,
                          const Variable& labels, const std::optional<Variable>& center_logits,
                          const std::optional<Variable>& queue,
                          const std::optional<Variable>& queue_labels, c10::SymInt num_anchors,
                          const std::optional<Variable>& queue_size, Scalars scalars,
                          const std::optional<Variable>& anchor_weight, bool features_grad) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    auto [loss, log_partition, pair_weight, anchor_grad] = paco_loss_forward(
        features, labels, center_logits, queue, queue_labels, std::move(num_anchors), queue_size,
        scalars.alpha, scalars.beta, scalars.gamma, scalars.temperature, scalars.base_temperature,
        scalars.label_smoothing, anchor_weight, features_grad);
    context->save_for_backward({features, labels, center_logits.value_or(Variable()),
                                anchor_weight.value_or(Variable()), log_partition, pair_weight,
                                anchor_grad});
    auto& saved = context->saved_data;
    saved["alpha"] = scalars.alpha;
    saved["beta"] = scalars.beta;
    saved["gamma"] = scalars.gamma;
    saved["temperature"] = scalars.temperature;
    saved["base_temperature"] = scalars.base_temperature;
    saved["label_smoothing"] = scalars.label_smoothing;
    return loss;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grad_outputs) {
    // The forward pass ran in float32; a backward pass inside autocast has to as well.
    const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
    const auto variables = context->get_saved_variables();
    const auto& features = variables[0];
    const auto center_logits = as_optional(variables[2]);
    const auto scalar = [&](const char* name) { return context->saved_data[name].toDouble(); };
    // By position among the tensors that forward() was given; labels are number 1. Not by
    // requires_grad(), which the user may have changed since.
    const bool features_grad = context->needs_input_grad(0);
    const bool center_logits_grad = center_logits && context->needs_input_grad(2);
    auto [grad_features, grad_center_logits] = paco_loss_backward(
        grad_outputs[0], features, variables[1], center_logits, as_optional(variables[3]),
        variables[4], variables[5], variables[6], scalar("alpha"), scalar("beta"), scalar("gamma"),
        scalar("temperature"), scalar("base_temperature"), scalar("label_smoothing"), features_grad,
        center_logits_grad);
    // One entry an argument of forward().
    variable_list gradients(10);
    if (features_grad) gradients[0] = grad_features;
    if (center_logits_grad) gradients[2] = grad_center_logits;
    return gradients;
  }
};

at::Tensor paco_loss_autograd(const at::Tensor& features, const at::Tensor& labels,
                              const std::optional<at::Tensor>& center_logits,
                              const std::optional<at::Tensor>& queue,
                              const std::optional<at::Tensor>& queue_labels,
                              c10::SymInt num_anchors, const std::optional<at::Tensor>& queue_size,
                              double alpha, double beta, double gamma, double temperature,
                              std::optional<double> base_temperature, double label_smoothing,
                              const std::optional<at::Tensor>& anchor_weight) {
  const bool wants_grad = at::GradMode::is_enabled();
  TORCH_CHECK_VALUE(!(wants_grad && anchor_weight && anchor_weight->requires_grad()),
                    "paco_loss: anchor_weight must not require a gradient (none flows to it); "
                    "detach it");
  return PaCoLossFunction::apply(features, labels, center_logits, queue, queue_labels,
                                 std::move(num_anchors), queue_size,
                                 Scalars{alpha, beta, gamma, temperature,
                                         base_temperature.value_or(temperature), label_smoothing},
                                 anchor_weight, wants_grad && features.requires_grad());
}

}  // namespace
}  // namespace paco

TORCH_LIBRARY_IMPL(paco, Autograd, m) {
  m.impl("paco_loss", TORCH_FN(paco::paco_loss_autograd));
  // The halves have no derivative of their own. Saying so turns a second derivative, which would be
  // silently wrong, into an error.
  m.impl("paco_loss_forward", torch::autograd::autogradNotImplementedFallback());
  m.impl("paco_loss_backward", torch::autograd::autogradNotImplementedFallback());
}
