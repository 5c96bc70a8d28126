// The operators' definitions in plain float64, the oracle of the C++ tests. Written for reading,
// not for speed: whole matrices, no tricks.
#pragma once

#include <paco/paco.h>
#include <torch/torch.h>

#include <optional>
#include <vector>

namespace paco::testing {

/// Everything that paco_loss takes.
struct LossProblem {
  torch::Tensor features;
  torch::Tensor labels;
  std::optional<torch::Tensor> center_logits;
  std::optional<torch::Tensor> queue;
  std::optional<torch::Tensor> queue_labels;
  int64_t num_anchors;
  std::optional<torch::Tensor> queue_size;
  PaCoLossOptions options;
  std::optional<torch::Tensor> anchor_weight;
};

inline torch::Tensor paco_loss_of(const LossProblem& p) {
  return paco_loss(p.features, p.labels, p.center_logits, p.queue, p.queue_labels, p.num_anchors,
                   p.queue_size, p.options, p.anchor_weight);
}

/// l_i, averaged over the anchors, term by term as in the papers.
inline torch::Tensor paco_loss_definition(const LossProblem& p) {
  const auto f64 = [](const torch::Tensor& t) { return t.to(torch::kFloat64); };
  const int64_t anchors = p.num_anchors;
  torch::Tensor rows = f64(p.features);
  torch::Tensor labels = p.labels;
  if (p.queue) {
    const int64_t valid = p.queue_size ? p.queue_size->item<int64_t>() : p.queue->size(0);
    rows = torch::cat({rows, f64(*p.queue).slice(0, 0, valid)});
    labels = torch::cat({labels, p.queue_labels->slice(0, 0, valid)});
  }
  const double temperature = p.options.temperature;
  const double alpha = p.options.alpha;
  const double gamma = p.options.gamma;

  const torch::Tensor anchor_labels = labels.slice(0, 0, anchors).unsqueeze(1);
  const torch::Tensor pairs = rows.slice(0, 0, anchors).matmul(rows.t()) / temperature;
  const torch::Tensor others = torch::eye(anchors, rows.size(0), torch::kBool).logical_not();
  const torch::Tensor positives = anchor_labels.eq(labels).logical_and(others);

  torch::Tensor denominator = gamma * (pairs.exp() * others).sum(1);
  if (p.center_logits) {
    denominator = denominator + f64(*p.center_logits).exp().sum(1);
  }
  // An anchor without centers and without another row has nothing to be compared with.
  const torch::Tensor log_partition =
      torch::where(denominator > 0, denominator, 1.0).log().unsqueeze(1);

  torch::Tensor weight = alpha * positives.sum(1).to(torch::kFloat64);
  torch::Tensor gain = alpha * (positives * (pairs - log_partition)).sum(1);
  if (p.center_logits) {
    const double beta = p.options.beta;
    const int64_t classes = p.center_logits->size(1);
    const double smoothing = p.options.label_smoothing;
    torch::Tensor target = torch::full({anchors, classes}, 0.0, torch::kFloat64);
    if (classes > 1) {
      target.fill_(smoothing / static_cast<double>(classes - 1));
    }
    target.scatter_(1, anchor_labels, 1 - smoothing);
    weight = weight + beta;
    gain = gain + beta * (target * (f64(*p.center_logits) - log_partition)).sum(1);
  }
  const double base_temperature = p.options.base_temperature.value_or(temperature);
  torch::Tensor loss = torch::where(weight > 0, -gain / weight.clamp_min(1e-300), 0.0);
  if (p.anchor_weight) {
    loss = loss * f64(*p.anchor_weight);
  }
  return temperature / base_temperature * loss.mean();
}

/// Logits of the class centers.
inline torch::Tensor center_logits_definition(torch::Tensor x, torch::Tensor weight,
                                              const std::optional<torch::Tensor>& bias,
                                              const std::optional<torch::Tensor>& log_prior,
                                              double supt, bool cosine) {
  x = x.to(torch::kFloat64);
  weight = weight.to(torch::kFloat64);
  if (cosine) {
    x = x / x.norm(2, 1, true);
    weight = weight / weight.norm(2, 1, true);
  }
  torch::Tensor logits = x.matmul(weight.t());
  if (bias) {
    logits = logits + *bias;
  }
  if (log_prior) {
    logits = logits + *log_prior;
  }
  return logits / supt;
}

}  // namespace paco::testing
