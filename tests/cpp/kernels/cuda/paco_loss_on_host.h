// The launches of paco_loss.cu on the host.
#pragma once

#include <paco/kernels/cuda/device/anchors.h>
#include <paco/kernels/cuda/device/center_gradient.h>
#include <paco/kernels/cuda/device/class_sums.h>
#include <paco/kernels/cuda/device/feature_gradient.h>
#include <paco/kernels/cuda/device/pair_stream.h>
#include <paco/kernels/cuda/device/pair_weights.h>

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "host_context.h"
#include "paco_loss_definition.h"
#include "random_problem.h"

namespace paco::cuda {

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
template <typename Product, int kDim, typename Weights = EqualWeights>
HostRun run_forward(const RandomProblem<Product>& problem, bool features_grad = true,
                    const Weights& weights = {}) {
  using Element = typename Product::Element;
  const Settings& settings = problem.settings;
  const auto arguments = problem.arguments();
  const ForwardScratch sizes(nullptr, settings.shares, settings.anchors, settings.dim,
                             features_grad);
  std::vector<float> memory(static_cast<size_t>(sizes.bytes) / sizeof(float), kNaN);
  const ForwardScratch scratch(memory.data(), settings.shares, settings.anchors, settings.dim,
                               features_grad);
  HostRun run;
  auto& results = run.results;
  const auto num_anchors = static_cast<size_t>(settings.anchors);
  results.log_partition.assign(num_anchors, kNaN);
  results.pair_weight.assign(num_anchors, kNaN);
  results.anchor_grad.assign(features_grad ? num_anchors * static_cast<size_t>(settings.dim) : 0,
                             kNaN);

  const Grid columns{divide_up(settings.anchors, kPairRows), settings.shares};
  run.add(launch_on_host(columns, kPairThreads, StreamMemory<Product, kDim, Weights>::kBytes,
                         [&](HostContext& context) {
                           stream_pairs<Product, kDim>(context, arguments, scratch, weights,
                                                       FirstRows{});
                         }));
  run.add(launch_on_host(columns, kPairThreads, class_memory_bytes(settings.dim),
                         [&](HostContext& context) {
                           sum_classes<Element>(context, arguments, scratch, FirstRows{});
                         }));
  if (!run.violated_check.empty()) return run;  // as on a GPU
  const PaCoLossOutput output{&results.loss, results.log_partition.data(),
                              results.pair_weight.data(),
                              features_grad ? results.anchor_grad.data() : nullptr};
  run.add(launch_on_host({settings.anchors, 1}, kHostAnchorThreads, sizeof(AnchorMemory),
                         [&](HostContext& context) {
                           finish_anchors<float, Element>(context, arguments, scratch, output);
                         }));
  run.add(launch_on_host({}, kHostAnchorThreads, sizeof(AnchorMemory), [&](HostContext& context) {
    average_anchors(context, scratch.anchor_loss, settings.anchors, &results.loss);
  }));
  return run;
}

// The launches of the backward pass, on top of what the forward pass left.
template <typename Product, int kDim, typename Weights>
void run_backward(const RandomProblem<Product>& problem, HostRun& run, const Weights& weights) {
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
                           feature_gradient<Product, kDim>(context, arguments, gradients, weights,
                                                           FirstRows{});
                         }));
  for (const auto value : grad_features) {
    results.grad_features.push_back(HostContext::to_float(value));
  }
  if (!settings.centers) return;
  run.add(launch_on_host({settings.anchors, divide_up(settings.classes, kCenterStep)},
                         kHostAnchorThreads, 0, [&](HostContext& context) {
                           center_gradient<float>(context, arguments, gradients, FirstRows{});
                         }));
}

// Calls `body` with the tile of a problem, and with the weights of its pairs.
template <typename Product, typename Body>
HostRun with_tile_and_weights(const RandomProblem<Product>& problem, const Body& body) {
  const auto both = [&](auto tile) {
    return problem.settings.balanced ? body(tile, ClassWeights{problem.class_counts.data()})
                                     : body(tile, EqualWeights{});
  };
  if (problem.settings.dim <= 64) return both(std::integral_constant<int, 64>{});
  if (problem.settings.dim <= 128) return both(std::integral_constant<int, 128>{});
  return both(std::integral_constant<int, kMaxDim>{});
}

template <typename Product>
HostRun run(const RandomProblem<Product>& problem) {
  return with_tile_and_weights(problem, [&](auto tile, const auto& weights) {
    constexpr int kDim = decltype(tile)::value;
    HostRun result = run_forward<Product, kDim>(problem, /*features_grad=*/true, weights);
    if (result.violated_check.empty()) run_backward<Product, kDim>(problem, result, weights);
    return result;
  });
}

}  // namespace paco::cuda
