// paco/reference.py, which export_models.py saved as TorchScript: the oracle of the operators.
#pragma once

#include <paco/paco.h>
#include <torch/script.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace paco::testing {

/// Everything that paco_loss takes.
struct LossProblem {
  torch::Tensor features;
  torch::Tensor labels;
  std::optional<torch::Tensor> center_logits;
  std::optional<torch::Tensor> queue;
  std::optional<torch::Tensor> queue_labels;
  std::optional<torch::Tensor> num_valid;
  std::optional<torch::Tensor> anchor_weight;
  std::optional<int64_t> num_anchors;
  PaCoLossOptions options;
  std::optional<torch::Tensor> soft_targets;
};

inline torch::Tensor paco_loss_of(const LossProblem& p) {
  return paco_loss(p.features, p.labels, p.center_logits, p.queue, p.queue_labels, p.num_valid,
                   p.anchor_weight, p.num_anchors, p.options, p.soft_targets);
}

/// Calls a function of paco/reference.py with all its arguments.
inline c10::IValue reference(const std::string& name, std::vector<c10::IValue> arguments) {
  return torch::jit::load(PACO_TEST_MODELS "/reference_" + name + ".pt")
      .forward(std::move(arguments));
}

inline std::optional<torch::Tensor> to_float64(const std::optional<torch::Tensor>& tensor) {
  return tensor ? std::optional(tensor->to(torch::kFloat64)) : std::nullopt;
}

inline torch::Tensor paco_loss_reference(const LossProblem& p) {
  return reference("paco_loss",
                   {p.features.to(torch::kFloat64), p.labels, to_float64(p.center_logits),
                    to_float64(p.queue), p.queue_labels, p.num_valid, to_float64(p.anchor_weight),
                    p.num_anchors, p.options.beta, p.options.gamma, p.options.base_temperature,
                    p.options.label_smoothing, to_float64(p.soft_targets), /*detach_keys=*/false,
                    p.options.alpha, p.options.temperature})
      .toTensor();
}

}  // namespace paco::testing
