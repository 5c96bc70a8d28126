#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <optional>

#include "../macros.h"
#include "../ops/paco_loss.h"

namespace paco::nn {

/// paco::paco_loss with its hyper-parameters, which are documented there. It has no state.
class PACO_API PaCoLossImpl : public torch::nn::Module {
 public:
  /// Throws c10::ValueError for a hyper-parameter outside its range.
  explicit PaCoLossImpl(const PaCoLossOptions& options);

  /// The scalar loss. See paco::paco_loss.
  torch::Tensor forward(const torch::Tensor& features, const torch::Tensor& labels,
                        const std::optional<torch::Tensor>& center_logits = std::nullopt,
                        const std::optional<torch::Tensor>& queue = std::nullopt,
                        const std::optional<torch::Tensor>& queue_labels = std::nullopt,
                        const std::optional<torch::Tensor>& num_valid = std::nullopt,
                        const std::optional<torch::Tensor>& anchor_weight = std::nullopt,
                        std::optional<int64_t> num_anchors = std::nullopt,
                        const std::optional<torch::Tensor>& soft_targets = std::nullopt,
                        bool detach_keys = false);

  const PaCoLossOptions options;
};
TORCH_MODULE(PaCoLoss);

}  // namespace paco::nn
