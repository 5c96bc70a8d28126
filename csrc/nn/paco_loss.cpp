#include "paco_loss.h"

#include "../ops/paco_loss_checks.h"

namespace paco::nn {

PaCoLossImpl::PaCoLossImpl(const PaCoLossOptions& options) : options(options) {
  check_hyper_parameters(
      "PaCoLoss", options.alpha, options.beta, options.gamma, options.temperature,
      options.base_temperature.value_or(options.temperature), options.label_smoothing);
}

torch::Tensor PaCoLossImpl::forward(const torch::Tensor& features, const torch::Tensor& labels,
                                    const std::optional<torch::Tensor>& center_logits,
                                    const std::optional<torch::Tensor>& queue,
                                    const std::optional<torch::Tensor>& queue_labels,
                                    int64_t num_anchors,
                                    const std::optional<torch::Tensor>& queue_size,
                                    const std::optional<torch::Tensor>& anchor_weight) {
  return paco_loss(features, labels, center_logits, queue, queue_labels, num_anchors, queue_size,
                   options, anchor_weight);
}

}  // namespace paco::nn
