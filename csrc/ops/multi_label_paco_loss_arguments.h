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
  const OptionalTensor& queue;
  const OptionalTensor& queue_labels;
  const OptionalTensor& num_valid;
  const OptionalTensor& anchor_weight;
  PaCoLossOptions options;
};

// A kernel of multi_label_paco_loss that calls a function of the struct.
template <at::Tensor (*function)(const MultiLabelPaCoLossArguments&)>
at::Tensor multi_label_paco_loss_adaptor(
    const at::Tensor& features, const at::Tensor& labels, const at::Tensor& center_logits,
    const OptionalTensor& queue, const OptionalTensor& queue_labels,
    const OptionalTensor& num_valid, const OptionalTensor& anchor_weight, double beta, double gamma,
    std::optional<double> base_temperature, double alpha, double temperature) {
  const PaCoLossOptions options{alpha, temperature, beta, gamma, base_temperature};
  return function(
      {features, labels, center_logits, queue, queue_labels, num_valid, anchor_weight, options});
}

}  // namespace paco
