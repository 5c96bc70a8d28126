#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "checks.h"
#include "paco_loss.h"

namespace paco {

// Borrowed for the length of one call.
struct MultiLabelPaCoLossArguments {
  const at::Tensor& features;
  const at::Tensor& labels;
  const at::Tensor& center_logits;
  const std::optional<at::Tensor>& queue;
  const std::optional<at::Tensor>& queue_labels;
  const std::optional<at::Tensor>& num_valid;
  const std::optional<at::Tensor>& anchor_weight;
  PaCoLossOptions options;
};

// A kernel of multi_label_paco_loss that calls a function of the struct.
template <auto function>
at::Tensor multi_label_paco_loss_adaptor(
    const at::Tensor& features, const at::Tensor& labels, const at::Tensor& center_logits,
    const std::optional<at::Tensor>& queue, const std::optional<at::Tensor>& queue_labels,
    const std::optional<at::Tensor>& num_valid, const std::optional<at::Tensor>& anchor_weight,
    double beta, double gamma, std::optional<double> base_temperature, double alpha,
    double temperature) {
  return function(MultiLabelPaCoLossArguments{features,
                                              labels,
                                              center_logits,
                                              queue,
                                              queue_labels,
                                              num_valid,
                                              anchor_weight,
                                              {.alpha = alpha,
                                               .temperature = temperature,
                                               .beta = beta,
                                               .gamma = gamma,
                                               .base_temperature = base_temperature}});
}

}  // namespace paco
