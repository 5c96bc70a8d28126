#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <optional>

#include "../macros.h"

namespace paco::nn {

/// paco::bcl_loss with its temperature, which are documented there. It has no state.
class PACO_API BCLLossImpl : public torch::nn::Module {
 public:
  /// Throws c10::ValueError for a temperature outside its range.
  explicit BCLLossImpl(double temperature);

  /// The scalar loss. See paco::bcl_loss.
  torch::Tensor forward(const torch::Tensor& features, const torch::Tensor& labels,
                        const torch::Tensor& prototypes,
                        const std::optional<torch::Tensor>& queue = std::nullopt,
                        const std::optional<torch::Tensor>& queue_labels = std::nullopt,
                        const std::optional<torch::Tensor>& num_valid = std::nullopt);

  const double temperature;
};
TORCH_MODULE(BCLLoss);

}  // namespace paco::nn
