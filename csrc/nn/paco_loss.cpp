#include "paco_loss.h"

namespace paco::nn {

PaCoLossImpl::PaCoLossImpl(const PaCoLossOptions& options) : options(options) {}

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
