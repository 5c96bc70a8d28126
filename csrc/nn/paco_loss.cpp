#include "paco_loss.h"

#include "../ops/checks.h"

namespace paco::nn {

PaCoLossImpl::PaCoLossImpl(const PaCoLossOptions& options) : options(options) {
  check_loss_options("PaCoLoss", options);
}

torch::Tensor PaCoLossImpl::forward(
    const torch::Tensor& features, const torch::Tensor& labels,
    const std::optional<torch::Tensor>& center_logits, const std::optional<torch::Tensor>& queue,
    const std::optional<torch::Tensor>& queue_labels, const std::optional<torch::Tensor>& num_valid,
    const std::optional<torch::Tensor>& anchor_weight, std::optional<int64_t> num_anchors,
    const std::optional<torch::Tensor>& soft_targets, bool detach_keys) {
  return paco_loss(features, labels, center_logits, queue, queue_labels, num_valid, anchor_weight,
                   num_anchors ? std::optional<c10::SymInt>(*num_anchors) : std::nullopt, options,
                   soft_targets, detach_keys);
}

}  // namespace paco::nn
