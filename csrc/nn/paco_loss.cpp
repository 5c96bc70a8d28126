#include "paco_loss.h"

#include <c10/util/Exception.h>

#include <cmath>

namespace paco::nn {
namespace {

// NaN fails every one of these comparisons, as it should.
void check_non_negative(const char* name, double value) {
  TORCH_CHECK_VALUE(value >= 0 && std::isfinite(value), "PaCoLoss: ", name,
                    " must be finite and >= 0, got ", value);
}

void check_positive(const char* name, double value) {
  TORCH_CHECK_VALUE(value > 0 && std::isfinite(value), "PaCoLoss: ", name,
                    " must be finite and > 0, got ", value);
}

}  // namespace

PaCoLossImpl::PaCoLossImpl(const PaCoLossOptions& options) : options(options) {
  check_non_negative("alpha", options.alpha);
  check_non_negative("beta", options.beta);
  check_non_negative("gamma", options.gamma);
  check_positive("temperature", options.temperature);
  if (options.base_temperature) check_positive("base_temperature", *options.base_temperature);
  TORCH_CHECK_VALUE(options.label_smoothing >= 0 && options.label_smoothing < 1,
                    "PaCoLoss: label_smoothing must lie in [0, 1), got ", options.label_smoothing);
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
