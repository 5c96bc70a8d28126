#include "training_step.h"

#include <c10/util/Exception.h>
#include <torch/nn/functional/normalization.h>

#include <algorithm>
#include <optional>

namespace paco::nn {

TrainingStepImpl::TrainingStepImpl(const PaCoLoss& loss, const FeatureQueue& queue,
                                   const ClassCenters& centers, bool detach_centers)
    : loss(register_module("loss", loss)),
      queue(register_module("queue", queue)),
      centers(register_module("centers", centers)),
      detach_centers(detach_centers) {}

torch::Tensor TrainingStepImpl::forward(const torch::Tensor& queries, const torch::Tensor& keys,
                                        const torch::Tensor& pooled, const torch::Tensor& labels,
                                        const std::optional<torch::Tensor>& soft_targets) {
  return detailed(queries, keys, pooled, labels, soft_targets).loss;
}

StepResult TrainingStepImpl::detailed(const torch::Tensor& queries, const torch::Tensor& keys,
                                      const torch::Tensor& pooled, const torch::Tensor& labels,
                                      const std::optional<torch::Tensor>& soft_targets) {
  namespace F = torch::nn::functional;
  const int64_t batch = queries.size(0);
  const int64_t num_keys = keys.size(0);
  const int64_t num_anchors = pooled.size(0);
  TORCH_CHECK_VALUE(num_keys >= batch && num_keys % std::max<int64_t>(batch, 1) == 0,
                    "TrainingStep: keys must have ", batch, " rows for each view, got ", num_keys);
  TORCH_CHECK_VALUE(num_anchors == batch || num_anchors == batch + num_keys,
                    "TrainingStep: pooled must have ", batch, " rows (PaCo) or ", batch + num_keys,
                    " (GPaCo), got ", num_anchors);
  // Autocast on a CPU would normalise in bfloat16, and leave lengths off by up to .4 %.
  const torch::Tensor unit_queries = F::normalize(queries.to(queue->features.scalar_type()));
  torch::Tensor unit_keys = F::normalize(keys.to(queue->features.scalar_type()));
  if (num_anchors == batch) unit_keys = unit_keys.detach();
  StepResult result;
  result.features = torch::cat({unit_queries, unit_keys});
  result.center_logits = centers(detach_centers ? pooled.detach() : pooled);
  const torch::Tensor key_labels = labels.repeat({num_keys / std::max<int64_t>(batch, 1)});
  result.loss =
      loss(result.features, torch::cat({labels, key_labels}), result.center_logits, queue->features,
           queue->labels, queue->num_valid(), std::nullopt, std::nullopt, soft_targets,
           /*detach_keys=*/true);
  queue->enqueue(unit_keys, key_labels);
  return result;
}

torch::Tensor TrainingStepImpl::predict(const torch::Tensor& pooled,
                                        const std::optional<torch::Tensor>& target_prior) const {
  return centers->predict(pooled, target_prior);
}

}  // namespace paco::nn
