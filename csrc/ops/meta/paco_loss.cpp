#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <tuple>

#include "../paco_loss_checks.h"
#include "../paco_loss_dispatch.h"

namespace paco {
namespace {

PaCoLossState paco_loss_forward_meta(
    const at::Tensor& features, const at::Tensor& labels,
    const std::optional<at::Tensor>& center_logits, const std::optional<at::Tensor>& queue,
    const std::optional<at::Tensor>& queue_labels,
    c10::SymInt num_anchors,  // NOLINT(performance-unnecessary-value-param): the schema has it so
    const std::optional<at::Tensor>& queue_size, double alpha, double beta, double gamma,
    double temperature, double base_temperature, double label_smoothing,
    const std::optional<at::Tensor>& anchor_weight, bool features_grad) {
  check_paco_loss({features, labels, center_logits, queue, queue_labels, num_anchors, queue_size,
                   alpha, beta, gamma, temperature, base_temperature, label_smoothing,
                   anchor_weight});
  const auto options = features.options().dtype(accumulate_type(features.scalar_type()));
  const auto empty = [&](c10::SymIntArrayRef sizes) { return at::empty_symint(sizes, options); };
  return {empty({}), empty({num_anchors}), empty({num_anchors}),
          features_grad ? empty({num_anchors, features.sym_size(1)}) : empty({0})};
}

std::tuple<at::Tensor, at::Tensor> paco_loss_backward_meta(
    const at::Tensor& /*grad_loss*/, const at::Tensor& features, const at::Tensor& /*labels*/,
    const std::optional<at::Tensor>& center_logits,
    const std::optional<at::Tensor>& /*anchor_weight*/, const at::Tensor& /*log_partition*/,
    const at::Tensor& /*pair_weight*/, const at::Tensor& /*anchor_grad*/, double /*alpha*/,
    double /*beta*/, double /*gamma*/, double /*temperature*/, double /*base_temperature*/,
    double /*label_smoothing*/, bool features_grad, bool center_logits_grad) {
  const auto gradient_of = [](const at::Tensor& input) {
    return at::empty_symint(input.sym_sizes(), input.options());
  };
  const auto unwanted = [&] { return at::empty({0}, features.options()); };
  return {features_grad ? gradient_of(features) : unwanted(),
          center_logits_grad ? gradient_of(*center_logits) : unwanted()};
}

}  // namespace
}  // namespace paco

TORCH_LIBRARY_IMPL(paco, Meta, m) {
  m.impl("paco_loss_forward", TORCH_FN(paco::paco_loss_forward_meta));
  m.impl("paco_loss_backward", TORCH_FN(paco::paco_loss_backward_meta));
}
