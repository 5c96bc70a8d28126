#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <optional>

#include "../macros.h"
#include "class_centers.h"
#include "feature_queue.h"
#include "paco_loss.h"

namespace paco::nn {

/// The results of a training step.
struct StepResult {
  torch::Tensor loss;           ///< a scalar
  torch::Tensor features;       ///< unit rows [(1 + V) B, D]: queries, then keys
  torch::Tensor center_logits;  ///< [A, C]
};

/// Loss, queue and centers of one step, for a trainer that brings the encoders.
class PACO_API TrainingStepImpl : public torch::nn::Module {
 public:
  /// With `detach_centers` the centers' gradient is kept from the pooled features, so that the
  /// encoder learns from the pairs alone, as in SupCon.
  TrainingStepImpl(const PaCoLoss& loss, const FeatureQueue& queue, const ClassCenters& centers,
                   bool detach_centers = false);

  /// The loss of a batch; afterwards the keys are in the queue.
  ///
  /// The rows that have pooled features are the anchors, so `pooled` tells PaCo from GPaCo.
  ///
  /// - queries: [B, D], projections of the first views, of any length.
  /// - keys: [V·B, D], those of the V >= 1 other views, view by view: in PaCo the key encoder's, to
  ///   which no gradient flows; in GPaCo the one encoder's.
  /// - pooled: pooled features; PaCo: [B, F], of the queries; GPaCo: [(1 + V) B, F], of the queries
  ///   and then of the keys.
  /// - labels: int64 [B].
  /// - soft_targets: a target over the classes for each row of pooled, see paco::paco_loss.
  ///
  /// Throws c10::ValueError for keys or pooled features of another number of rows.
  torch::Tensor forward(const torch::Tensor& queries, const torch::Tensor& keys,
                        const torch::Tensor& pooled, const torch::Tensor& labels,
                        const std::optional<torch::Tensor>& soft_targets = std::nullopt);

  /// The loss of forward(), with the features and logits that the loss was computed from.
  StepResult detailed(const torch::Tensor& queries, const torch::Tensor& keys,
                      const torch::Tensor& pooled, const torch::Tensor& labels,
                      const std::optional<torch::Tensor>& soft_targets = std::nullopt);

  /// Inference logits [B, C] of pooled features [B, F]; see ClassCenters::predict.
  torch::Tensor predict(const torch::Tensor& pooled,
                        const std::optional<torch::Tensor>& target_prior = std::nullopt) const;

  PaCoLoss loss;         ///< submodule "loss"
  FeatureQueue queue;    ///< submodule "queue"
  ClassCenters centers;  ///< submodule "centers"
  const bool detach_centers;
};
TORCH_MODULE(TrainingStep);

}  // namespace paco::nn
