// The launches of paco_loss.cu on the host, for several processes that share a problem out.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "paco_loss_on_host.h"

namespace paco::cuda {

// One process: its part of a problem, and the results that it leaves.
template <typename Product>
struct HostProcess {
  using Element = typename Product::Element;

  const RandomProblem<Product>& whole;
  bool class_share;
  int64_t first_anchor;  // of its own, which are its first rows
  int64_t own_anchors;
  std::vector<int64_t> rows;  // of the whole problem
  std::vector<int64_t> keys;
  int64_t first_class;
  int64_t own_classes;

  std::vector<Element> features;
  std::vector<int64_t> labels;
  std::vector<Element> queue;
  std::vector<int64_t> queue_labels;
  std::vector<float> center_logits;
  std::vector<float> soft_targets;
  std::vector<int64_t> anchor_rows;
  std::vector<int64_t> anchor_of_row;

  std::vector<PaCoLossSums> sums;  // [A]
  std::vector<float> record_rows;  // [A, 2, D], or [A, 1, D] for the loss alone
  std::vector<float> anchor_grad;  // [A_own, D]

  HostProcess(const RandomProblem<Product>& problem, int64_t rank, int64_t processes,
              bool class_share)
      : whole(problem), class_share(class_share) {
    const Settings& settings = problem.settings;
    const auto begin_of = [&](int64_t total, int64_t r) { return total * r / processes; };
    first_anchor = begin_of(settings.anchors, rank);
    own_anchors = begin_of(settings.anchors, rank + 1) - first_anchor;
    const int64_t others = settings.rows - settings.anchors;
    for (int64_t i = 0; i < own_anchors; ++i) rows.push_back(first_anchor + i);
    for (int64_t i = begin_of(others, rank); i < begin_of(others, rank + 1); ++i) {
      rows.push_back(settings.anchors + i);
    }
    for (int64_t i = begin_of(problem.num_valid, rank); i < begin_of(problem.num_valid, rank + 1);
         ++i) {
      keys.push_back(i);
    }
    first_class = class_share ? begin_of(settings.classes, rank) : 0;
    own_classes =
        class_share ? begin_of(settings.classes, rank + 1) - first_class : settings.classes;
    take(features, labels, problem.features, problem.labels, rows);
    take(queue, queue_labels, problem.queue, problem.queue_labels, keys);
    anchor_rows.assign(static_cast<size_t>(settings.anchors), -1);
    anchor_of_row.assign(rows.size(), -1);
    for (int64_t i = 0; i < own_anchors; ++i) {
      anchor_rows[static_cast<size_t>(first_anchor + i)] = i;
      anchor_of_row[static_cast<size_t>(i)] = first_anchor + i;
    }
    for (int64_t i = 0; settings.centers && i < num_center_rows(); ++i) {
      for (int64_t c = 0; c < own_classes; ++c) {
        const auto at = static_cast<size_t>(center_anchor(i) * settings.classes + first_class + c);
        center_logits.push_back(problem.center_logits[at]);
        if (settings.soft) soft_targets.push_back(problem.soft_targets[at]);
      }
    }
  }

  int64_t num_center_rows() const { return class_share ? whole.settings.anchors : own_anchors; }
  int64_t center_anchor(int64_t row) const { return class_share ? row : first_anchor + row; }

  PaCoLossProblem problem() const {
    PaCoLossProblem result = whole.problem();
    result.features = features.data();
    result.labels = labels.data();
    result.num_rows = static_cast<int64_t>(rows.size());
    result.queue = queue.data();
    result.queue_labels = queue_labels.data();
    result.queue_rows = static_cast<int64_t>(keys.size());
    result.num_valid = nullptr;
    result.anchor_weight = nullptr;
    if (whole.settings.centers) {
      result.center_logits = center_logits.data();
      result.num_classes = own_classes;
      if (whole.settings.soft) result.soft_targets = soft_targets.data();
    }
    result.share = {.anchors = whole.features.data(),
                    .anchor_labels = whole.labels.data(),
                    .anchor_rows = anchor_rows.data(),
                    .anchor_of_row = anchor_of_row.data(),
                    .has_class_share = class_share,
                    .center_rows = num_center_rows(),
                    .first_class = first_class,
                    .all_classes = class_share ? whole.settings.classes : 0};
    return result;
  }

 private:
  void take(std::vector<Element>& to, std::vector<int64_t>& to_labels,
            const std::vector<Element>& from, const std::vector<int64_t>& from_labels,
            const std::vector<int64_t>& indices) const {
    const auto dim = static_cast<size_t>(whole.settings.dim);
    for (const int64_t index : indices) {
      const auto row = from.begin() + static_cast<std::ptrdiff_t>(index * whole.settings.dim);
      to.insert(to.end(), row, row + static_cast<std::ptrdiff_t>(dim));
      to_labels.push_back(from_labels[static_cast<size_t>(index)]);
    }
  }
};

template <typename Product, int kDim, typename Weights>
void run_partial(HostProcess<Product>& process, HostRun& run, const Weights& weights,
                 bool features_grad) {
  using Element = typename Product::Element;
  const Settings& settings = process.whole.settings;
  const PaCoLossProblem problem = process.problem();
  const DeviceProblem arguments(problem);
  const GatheredAnchors source(problem);
  const ForwardScratch sizes(nullptr, settings.shares, settings.anchors, settings.dim,
                             features_grad);
  std::vector<float> memory(static_cast<size_t>(sizes.bytes) / sizeof(float), kNaN);
  const ForwardScratch scratch(memory.data(), settings.shares, settings.anchors, settings.dim,
                               features_grad);
  const auto num_anchors = static_cast<size_t>(settings.anchors);
  process.sums.resize(num_anchors);
  process.record_rows.assign(
      (features_grad ? 2 : 1) * num_anchors * static_cast<size_t>(settings.dim), kNaN);

  const Grid columns{divide_up(settings.anchors, kPairRows), settings.shares};
  run.add(launch_on_host(columns, kPairThreads, StreamMemory<Product, kDim, Weights>::kBytes,
                         [&](HostContext& context) {
                           stream_pairs<Product, kDim>(context, arguments, scratch, weights,
                                                       source);
                         }));
  run.add(launch_on_host(
      columns, kPairThreads, class_memory_bytes(settings.dim),
      [&](HostContext& context) { sum_classes<Element>(context, arguments, scratch, source); }));
  if (!run.violated_check.empty()) return;  // as on a GPU
  const PaCoLossRecords record{process.sums.data(), process.record_rows.data(), 1, features_grad};
  run.add(launch_on_host(
      {settings.anchors, 1}, kHostAnchorThreads, sizeof(AnchorMemory), [&](HostContext& context) {
        record_anchors<float, Element>(context, arguments, scratch, source, record);
      }));
}

// The anchors of a process from the records of all; appends to what those before it have left.
template <typename Product>
void run_combine(HostProcess<Product>& process, const std::vector<HostProcess<Product>>& all,
                 HostRun& run, bool features_grad) {
  using Element = typename Product::Element;
  const RandomProblem<Product>& whole = process.whole;
  const Settings& settings = whole.settings;
  const auto own = static_cast<size_t>(process.own_anchors);
  const auto first = static_cast<size_t>(process.first_anchor);
  const auto dim = static_cast<size_t>(settings.dim);
  std::vector<PaCoLossSums> sums;
  std::vector<float> rows;
  for (const auto& other : all) {
    sums.insert(sums.end(), &other.sums[first], &other.sums[first] + own);
    const size_t record = (features_grad ? 2 : 1) * dim;
    rows.insert(rows.end(), &other.record_rows[record * first],
                &other.record_rows[record * first] + record * own);
  }
  PaCoLossProblem problem = whole.problem();
  problem.features = process.features.data();
  problem.num_rows = problem.num_anchors = process.own_anchors;
  problem.center_logits = problem.soft_targets = nullptr;
  if (settings.weighted) problem.anchor_weight = whole.anchor_weight.data() + first;
  DeviceProblem arguments(problem);
  arguments.beta = settings.centers ? settings.beta : 0;
  std::vector<double> log_partition(own);
  std::vector<double> losses(own);
  std::vector<float> pair_weight(own);
  process.anchor_grad.assign(features_grad ? own * dim : 0, kNaN);
  const PaCoLossRecords records{sums.data(), rows.data(), static_cast<int64_t>(all.size()),
                                features_grad};
  const PaCoLossOutput output{nullptr, log_partition.data(), pair_weight.data(),
                              features_grad ? process.anchor_grad.data() : nullptr, losses.data()};
  if (own > 0) {
    run.add(launch_on_host({process.own_anchors, 1}, kHostAnchorThreads, sizeof(AnchorMemory),
                           [&](HostContext& context) {
                             combine_anchors<Element>(context, arguments, records, output);
                           }));
  }
  auto& results = run.results;
  for (const double loss : losses) {
    results.loss += static_cast<float>(loss / static_cast<double>(settings.anchors));
  }
  const auto append = [](auto& to, const auto& from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  append(results.log_partition, log_partition);
  append(results.pair_weight, pair_weight);
  append(results.anchor_grad, process.anchor_grad);
}

template <typename Product, int kDim, typename Weights>
void run_partial_backward(const HostProcess<Product>& process, HostRun& run,
                          const Weights& weights) {
  using Element = typename Product::Element;
  const RandomProblem<Product>& whole = process.whole;
  const Settings& settings = whole.settings;
  const auto dim = static_cast<size_t>(settings.dim);
  auto& results = run.results;
  std::vector<float> grad_losses(static_cast<size_t>(settings.anchors));
  for (size_t i = 0; i < grad_losses.size(); ++i) {
    grad_losses[i] = whole.upstream * (settings.weighted ? whole.anchor_weight[i] : 1.0f) /
                     static_cast<float>(settings.anchors);
  }
  std::vector<Element> grad_features(process.features.size());
  for (auto& value : grad_features) HostContext::assign(value, kNaN);
  std::vector<float> grad_center_logits(process.center_logits.size(), kNaN);
  const PaCoLossProblem problem = process.problem();
  const PaCoLossGradients gradients{nullptr,
                                    results.log_partition.data(),
                                    results.pair_weight.data(),
                                    process.anchor_grad.data(),
                                    grad_features.data(),
                                    grad_center_logits.data(),
                                    grad_losses.data()};
  const DeviceProblem arguments = backward_problem(problem, gradients);
  const GatheredAnchors source(problem);
  if (!process.rows.empty()) {
    run.add(launch_on_host({divide_up(problem.num_rows, kPairRows), 1}, kPairThreads,
                           GradientMemory<Product, kDim>::kBytes, [&](HostContext& context) {
                             feature_gradient<Product, kDim>(context, arguments, gradients, weights,
                                                             source);
                           }));
  }
  for (size_t k = 0; k < grad_features.size(); ++k) {
    const auto row = static_cast<size_t>(process.rows[k / dim]);
    results.grad_features[row * dim + k % dim] = HostContext::to_float(grad_features[k]);
  }
  if (grad_center_logits.empty()) return;
  run.add(launch_on_host({settings.anchors, divide_up(process.own_classes, kCenterStep)},
                         kHostAnchorThreads, 0, [&](HostContext& context) {
                           center_gradient<float>(context, arguments, gradients, source);
                         }));
  const auto width = static_cast<size_t>(process.own_classes);
  for (size_t k = 0; k < grad_center_logits.size(); ++k) {
    const auto anchor = static_cast<size_t>(process.center_anchor(static_cast<int64_t>(k / width)));
    results.grad_center_logits[anchor * static_cast<size_t>(settings.classes) +
                               static_cast<size_t>(process.first_class) + k % width] =
        grad_center_logits[k];
  }
}

// A whole problem on several processes. BCL's prototypes are rows like others.
template <typename Product>
HostRun run_on_processes(const RandomProblem<Product>& problem, int64_t count, bool class_share,
                         bool features_grad = true) {
  return with_tile_and_weights(problem, [&](auto tile, const auto& weights) {
    constexpr int kDim = decltype(tile)::value;
    HostRun run;
    run.results.loss = 0;
    run.results.grad_features.assign(problem.features.size(), kNaN);
    run.results.grad_center_logits.assign(problem.center_logits.size(), kNaN);
    std::vector<HostProcess<Product>> processes;
    for (int64_t rank = 0; rank < count; ++rank) {
      processes.emplace_back(problem, rank, count, class_share);
    }
    for (auto& process : processes)
      run_partial<Product, kDim>(process, run, weights, features_grad);
    if (!run.violated_check.empty()) return run;
    for (auto& process : processes) run_combine(process, processes, run, features_grad);
    if (!features_grad) return run;
    for (const auto& process : processes) {
      run_partial_backward<Product, kDim>(process, run, weights);
    }
    return run;
  });
}

}  // namespace paco::cuda
