// Random problems for the kernels of paco_loss, their definition in float64, and the launches of
// ops/cuda/paco_loss_kernels.cuh on the host.
#pragma once

#include <gtest/gtest.h>
#include <paco/ops/cuda/paco_loss_body.h>
#include <paco/ops/cuda/paco_loss_plan.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "host_context.h"

namespace paco::cuda {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Sizes and settings of a problem. Unset numbers are drawn.
struct Settings {
  int64_t rows = 70;     // M
  int64_t anchors = 35;  // A
  int dim = 40;          // D
  int64_t classes = 5;   // C of the labels
  bool centers = true;
  int64_t queue = 100;  // K
  int64_t valid = -1;   // n, where it differs from K
  float alpha = 0.7f;
  float beta = 1;
  float gamma = 1;
  float temperature = 0.2f;
  float base_temperature = 0.3f;
  float smoothing = 0;
  bool weighted = false;
  int shares = 2;
};

template <typename Product>
struct Problem {
  using Element = typename Product::Element;

  Settings settings;
  std::vector<Element> features;
  std::vector<int64_t> labels;
  std::vector<float> center_logits;
  std::vector<Element> queue;
  std::vector<int64_t> queue_labels;
  int64_t queue_size = 0;
  std::vector<float> anchor_weight;
  float upstream = 1;

  // Unit rows of numbers that the product takes as they are, so that its pairs are exact.
  Problem(const Settings& of, std::mt19937_64& random) : settings(of) {
    const auto rows_of = [&](int64_t count) {
      std::normal_distribution<float> normal;
      std::vector<Element> rows(static_cast<size_t>(count * settings.dim));
      for (int64_t i = 0; i < count; ++i) {
        std::vector<float> row(static_cast<size_t>(settings.dim));
        float square = 0;
        for (float& value : row) {
          value = normal(random);
          square += value * value;
        }
        for (size_t d = 0; d < row.size(); ++d) {
          float value = row[d] / std::sqrt(square);
          if (std::is_same_v<Product, Tf32Product>) {
            value = std::bit_cast<float>(HostContext::round_to_tf32(value));
          }
          HostContext::assign(rows[static_cast<size_t>(i * settings.dim) + d], value);
        }
      }
      return rows;
    };
    // Few of some classes, many of others.
    const auto labels_of = [&](int64_t count) {
      std::vector<int64_t> drawn(static_cast<size_t>(count));
      for (int64_t& label : drawn) {
        const double u = std::uniform_real_distribution<double>()(random);
        label = static_cast<int64_t>(u * u * static_cast<double>(settings.classes));
      }
      return drawn;
    };
    features = rows_of(settings.rows);
    labels = labels_of(settings.rows);
    queue = rows_of(settings.queue);
    queue_labels = labels_of(settings.queue);
    queue_size = settings.valid < 0 ? settings.queue : settings.valid;
    // What lies beyond the valid rows must not matter.
    for (auto i = static_cast<size_t>(queue_size); i < queue_labels.size(); ++i) {
      queue_labels[i] = -1;
      for (int d = 0; d < settings.dim; ++d) {
        HostContext::assign(queue[i * static_cast<size_t>(settings.dim) + static_cast<size_t>(d)],
                            kNaN);
      }
    }
    std::normal_distribution<float> logit(0, 2);
    center_logits.resize(settings.centers ? static_cast<size_t>(settings.anchors * settings.classes)
                                          : 0);
    for (float& value : center_logits) value = logit(random);
    anchor_weight.resize(settings.weighted ? static_cast<size_t>(settings.anchors) : 0);
    for (float& value : anchor_weight) value = std::uniform_real_distribution<float>(0, 2)(random);
    upstream = std::uniform_real_distribution<float>(0.5, 2)(random);
  }

  PaCoLossProblem<Element> arguments() const {
    const auto nullable = [](const auto& array) { return array.empty() ? nullptr : array.data(); };
    return {
        {features.data(), settings.rows, settings.dim},
        labels.data(),
        {nullable(queue), settings.queue, settings.dim},
        nullable(queue_labels),
        settings.valid < 0 ? nullptr : &queue_size,
        nullable(center_logits),
        nullable(anchor_weight),
        settings.anchors,
        settings.centers ? settings.classes : 0,
        settings.alpha,
        settings.centers ? settings.beta : 0,
        settings.gamma,
        settings.temperature,
        settings.base_temperature,
        settings.smoothing,
    };
  }
};

// Everything that the operators return, of the definition or of the kernels.
template <typename Number>
struct Results {
  Number loss;
  std::vector<Number> log_partition;
  std::vector<Number> pair_weight;
  std::vector<Number> anchor_grad;
  std::vector<Number> grad_features;
  std::vector<Number> grad_center_logits;
};

// The formulas of ops/paco_loss.h and their derivatives, pair by pair.
template <typename Product>
Results<double> define(const Problem<Product>& problem) {
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
  append(problem.queue, problem.queue_labels, problem.queue_size);

  const double beta = settings.centers ? settings.beta : 0;
  Results<double> results{0,
                          std::vector<double>(num_anchors),
                          std::vector<double>(num_anchors),
                          std::vector<double>(num_anchors * dim),
                          std::vector<double>(num_rows * dim),
                          std::vector<double>(num_anchors * num_classes)};
  for (size_t i = 0; i < num_anchors; ++i) {
    std::vector<double> pairs(rows.size());
    double partition = 0;
    double positives = 0;
    for (size_t j = 0; j < rows.size(); ++j) {
      for (size_t d = 0; d < dim; ++d) pairs[j] += rows[i][d] * rows[j][d] / settings.temperature;
      if (j == i) continue;
      partition += settings.gamma * std::exp(pairs[j]);
      positives += labels[j] == labels[i];
    }
    const auto target = [&](size_t c) {
      if (c == static_cast<size_t>(labels[i])) return 1.0 - settings.smoothing;
      return settings.smoothing / static_cast<double>(num_classes - 1);
    };
    const auto logit = [&](size_t c) -> double {
      return problem.center_logits[i * num_classes + c];
    };
    for (size_t c = 0; c < num_classes; ++c) partition += std::exp(logit(c));
    const double log_partition = std::log(partition);
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
      double pair_grad = settings.gamma * std::exp(pairs[j] - log_partition);
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

struct HostRun {
  Results<float> results;
  std::string violated_check;
  int64_t bank_conflicts = 0;

  void add(const LaunchReport& report) {
    if (violated_check.empty()) violated_check = report.violated_check;
    bank_conflicts += report.bank_conflicts;
  }
};

constexpr int kHostAnchorThreads = 64;  // fewer than on a GPU: the bodies take any number of warps

// The launches of the forward pass. Shared memory is exactly as large as the launcher makes it.
template <typename Product, int kDim>
HostRun run_forward(const Problem<Product>& problem, bool features_grad = true) {
  using Element = typename Product::Element;
  const Settings& settings = problem.settings;
  const auto arguments = problem.arguments();
  const PaCoLossWorkspace sizes(nullptr, settings.shares, settings.anchors, settings.dim,
                                features_grad);
  std::vector<float> memory(static_cast<size_t>(sizes.bytes) / sizeof(float), kNaN);
  const PaCoLossWorkspace workspace(memory.data(), settings.shares, settings.anchors, settings.dim,
                                    features_grad);
  HostRun run;
  auto& results = run.results;
  const auto num_anchors = static_cast<size_t>(settings.anchors);
  results.log_partition.assign(num_anchors, kNaN);
  results.pair_weight.assign(num_anchors, kNaN);
  results.anchor_grad.assign(features_grad ? num_anchors * static_cast<size_t>(settings.dim) : 0,
                             kNaN);

  const Grid columns{divide_up(settings.anchors, kPairRows), settings.shares};
  run.add(launch_on_host(columns, kPairThreads, PairMemory<Product, kDim>::kBytes,
                         [&](HostContext& context) {
                           stream_pairs<Product, kDim>(context, arguments, workspace.shares);
                         }));
  run.add(launch_on_host(
      columns, kPairThreads, class_memory_bytes(settings.dim),
      [&](HostContext& context) { sum_classes(context, arguments, workspace.shares); }));
  if (!run.violated_check.empty()) return run;  // as on a GPU
  const PaCoLossResults outputs{workspace.anchor_loss, results.log_partition.data(),
                                results.pair_weight.data(),
                                features_grad ? results.anchor_grad.data() : nullptr};
  run.add(launch_on_host(
      {settings.anchors, 1}, kHostAnchorThreads, sizeof(AnchorMemory), [&](HostContext& context) {
        finish_anchors<float, Element>(context, arguments, workspace.shares, outputs);
      }));
  run.add(launch_on_host({}, kHostAnchorThreads, sizeof(AnchorMemory), [&](HostContext& context) {
    average_anchors(context, workspace.anchor_loss, settings.anchors, &results.loss);
  }));
  return run;
}

// The launches of the backward pass, on top of what the forward pass left.
template <typename Product, int kDim>
void run_backward(const Problem<Product>& problem, HostRun& run) {
  using Element = typename Product::Element;
  const Settings& settings = problem.settings;
  const auto arguments = problem.arguments();
  auto& results = run.results;
  std::vector<Element> grad_features(problem.features.size());
  for (auto& value : grad_features) HostContext::assign(value, kNaN);
  results.grad_center_logits.assign(problem.center_logits.size(), kNaN);
  const PaCoLossGradients gradients{&problem.upstream,          results.log_partition.data(),
                                    results.pair_weight.data(), results.anchor_grad.data(),
                                    grad_features.data(),       results.grad_center_logits.data()};
  run.add(launch_on_host({divide_up(settings.rows, kPairRows), 1}, kPairThreads,
                         GradientMemory<Product, kDim>::kBytes, [&](HostContext& context) {
                           feature_gradient<Product, kDim>(context, arguments, gradients);
                         }));
  for (const auto value : grad_features) {
    results.grad_features.push_back(HostContext::to_float(value));
  }
  if (!settings.centers) return;
  run.add(launch_on_host(
      {settings.anchors, divide_up(settings.classes, kCenterStep)}, kHostAnchorThreads, 0,
      [&](HostContext& context) { center_gradient<float>(context, arguments, gradients); }));
}

template <typename Product>
HostRun run(const Problem<Product>& problem) {
  const auto both = [&](auto tile) {
    constexpr int kDim = decltype(tile)::value;
    HostRun result = run_forward<Product, kDim>(problem);
    if (result.violated_check.empty()) run_backward<Product, kDim>(problem, result);
    return result;
  };
  if (problem.settings.dim <= 64) return both(std::integral_constant<int, 64>{});
  if (problem.settings.dim <= 128) return both(std::integral_constant<int, 128>{});
  return both(std::integral_constant<int, kMaxDim>{});
}

// Errors relative to the largest entry, or to `scale` if that is more.
inline void expect_close(const std::string& name, const std::vector<float>& actual,
                         const std::vector<double>& expected, double tolerance, double scale) {
  ASSERT_EQ(actual.size(), expected.size()) << name;
  double largest = scale;
  for (const double value : expected) {
    if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
  }
  for (size_t i = 0; i < actual.size(); ++i) {
    if (std::isinf(expected[i])) {
      ASSERT_EQ(actual[i], expected[i]) << name << "[" << i << "]";
    } else {
      ASSERT_NEAR(actual[i], expected[i], tolerance * largest) << name << "[" << i << "]";
    }
  }
}

}  // namespace paco::cuda
