// The definition of paco_loss and of its derivatives in float64, pair by pair.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "random_problem.h"

namespace paco::cuda {

// Everything that the operators return, of the definition or of the kernels.
template <typename Number>
struct Results {
  Number loss;
  std::vector<double> log_partition;
  std::vector<Number> pair_weight;
  std::vector<Number> anchor_grad;
  std::vector<Number> grad_features;
  std::vector<Number> grad_center_logits;
};

// The formulas of ops/paco_loss.h and ops/bcl_loss.h and their derivatives, pair by pair.
template <typename Product>
Results<double> define(const RandomProblem<Product>& problem) {
  const Settings& settings = problem.settings;
  const auto num_rows = static_cast<size_t>(settings.rows);
  const auto num_anchors = static_cast<size_t>(settings.anchors);
  const auto num_classes = static_cast<size_t>(settings.centers ? settings.classes : 0);
  const auto dim = static_cast<size_t>(settings.dim);
  std::vector<std::vector<double>> rows;
  std::vector<int64_t> labels;
  const auto append = [&](const auto& from, const auto& from_labels, int64_t count) {
    for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
      auto& row = rows.emplace_back(dim);
      for (size_t d = 0; d < dim; ++d) row[d] = HostContext::to_float(from[i * dim + d]);
      labels.push_back(from_labels[i]);
    }
  };
  append(problem.features, problem.labels, settings.rows);
  append(problem.queue, problem.queue_labels, problem.num_valid);

  const double beta = settings.centers ? settings.beta : 0;
  Results<double> results{0,
                          std::vector<double>(num_anchors),
                          std::vector<double>(num_anchors),
                          std::vector<double>(num_anchors * dim),
                          std::vector<double>(num_rows * dim),
                          std::vector<double>(num_anchors * num_classes)};
  for (size_t i = 0; i < num_anchors; ++i) {
    std::vector<double> pairs(rows.size());
    double positives = 0;
    for (size_t j = 0; j < rows.size(); ++j) {
      for (size_t d = 0; d < dim; ++d) pairs[j] += rows[i][d] * rows[j][d] / settings.temperature;
      if (j == i) continue;
      positives += labels[j] == labels[i];
    }
    const auto target = [&](size_t c) -> double {
      if (settings.soft) return problem.soft_targets[i * num_classes + c];
      if (c == static_cast<size_t>(labels[i])) return 1.0 - settings.smoothing;
      return settings.smoothing / static_cast<double>(num_classes - 1);
    };
    const auto logit = [&](size_t c) -> double {
      return problem.center_logits[i * num_classes + c];
    };
    const auto pair_weight = [&](size_t j) -> double {
      if (!settings.balanced) return settings.gamma;
      const auto count = static_cast<double>(problem.class_counts[static_cast<size_t>(labels[j])]);
      return 1 / (labels[j] == labels[i] ? count - 1 : count);
    };
    double maximum = -kInfinity;
    for (size_t j = 0; j < rows.size(); ++j) {
      if (j != i && settings.gamma > 0) maximum = std::max(maximum, pairs[j]);
    }
    for (size_t c = 0; c < num_classes; ++c) maximum = std::max(maximum, logit(c));
    double partition = 0;
    for (size_t j = 0; j < rows.size(); ++j) {
      if (j != i) partition += pair_weight(j) * std::exp(pairs[j] - maximum);
    }
    for (size_t c = 0; c < num_classes; ++c) partition += std::exp(logit(c) - maximum);
    const double log_partition = partition > 0 ? maximum + std::log(partition) : -kInfinity;
    const double weight = beta + settings.alpha * positives;
    results.log_partition[i] = log_partition;
    results.pair_weight[i] = weight;
    if (weight == 0) continue;

    double bracket = 0;
    for (size_t c = 0; c < num_classes; ++c) {
      bracket += beta * target(c) * (logit(c) - log_partition);
    }
    const double anchor_weight = settings.weighted ? problem.anchor_weight[i] : 1;
    const double upstream = problem.upstream * anchor_weight /
                            (static_cast<double>(num_anchors) * settings.base_temperature);
    for (size_t j = 0; j < rows.size(); ++j) {
      if (j == i) continue;
      double pair_grad = pair_weight(j) * std::exp(pairs[j] - log_partition);
      if (labels[j] == labels[i]) {
        pair_grad -= settings.alpha / weight;
        bracket += settings.alpha * (pairs[j] - log_partition);
      }
      for (size_t d = 0; d < dim; ++d) {
        results.anchor_grad[i * dim + d] += pair_grad * rows[j][d];
        results.grad_features[i * dim + d] += upstream * pair_grad * rows[j][d];
        if (j < num_rows) results.grad_features[j * dim + d] += upstream * pair_grad * rows[i][d];
      }
    }
    for (size_t c = 0; c < num_classes; ++c) {
      results.grad_center_logits[i * num_classes + c] =
          upstream * settings.temperature *
          (std::exp(logit(c) - log_partition) - beta * target(c) / weight);
    }
    const double loss = -settings.temperature / settings.base_temperature * bracket / weight;
    results.loss += anchor_weight * loss / static_cast<double>(num_anchors);
  }
  return results;
}

}  // namespace paco::cuda
