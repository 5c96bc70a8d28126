#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "class_sums.h"
#include "pair_stream.h"
#include "row_kernels.h"

// Pairs, positives and centers of an anchor come together: L_i, W_i, l_i and the gradient.
namespace paco::cpu {

// The target of an anchor over the classes, or null where its label is the target.
template <typename T>
const T* soft_targets_of(const PaCoLossProblem& problem, int64_t anchor) {
  const auto* const targets = static_cast<const T*>(problem.soft_targets);
  return targets == nullptr ? nullptr : targets + anchor * problem.num_classes;
}

template <typename T>
struct CenterTerms {
  static constexpr int64_t kBlock = 4096;  // numbers of a sum in T; sums of blocks are double

  T maximum = kMinusInfinity<T>;  // of s_ic
  double exp_sum = 0;             // sum_c exp(s_ic - maximum)
  double target = 0;              // sum_c t_ic s_ic

  CenterTerms() = default;
  // The terms of one anchor; its target is `targets`, or for null its label, smoothed.
  CenterTerms(const T* logits, int64_t num_classes, int64_t label, double smoothing,
              const T* targets) {
    const auto& kernels = row_kernels<T>();
    maximum = kernels.maximum(logits, num_classes);
    double sum = 0;
    for (int64_t c = 0; c < num_classes; c += kBlock) {
      const int64_t size = std::min(kBlock, num_classes - c);
      exp_sum += kernels.exp_sum(logits + c, size, maximum);
      if (smoothing > 0) sum += kernels.sum(logits + c, size);
      if (targets != nullptr) sum += kernels.dot(targets + c, logits + c, size);
    }
    target = targets != nullptr ? sum : logits[label];
    if (smoothing > 0) {
      const double other = smoothing / static_cast<double>(num_classes - 1);
      target = (1 - smoothing) * logits[label] + other * (sum - logits[label]);
    }
  }
};

template <typename T>
struct AnchorFinish {
  const PaCoLossProblem& problem;
  const ClassSums<T>& classes;  // empty where alpha is 0
  PairStream<T>* pairs;         // null where gamma is 0
  double* log_partition;        // [A]
  T* pair_weight;               // [A]
  T* anchor_grad;               // [A, D]: what the pairs left, made the gradient; or null

  // Returns l_i, times the weight of the anchor.
  double operator()(int64_t i, const T* anchor, const CenterTerms<T>& center) const {
    const auto& kernels = row_kernels<T>();
    const int64_t dim = problem.dim;

    const auto pair = pairs == nullptr ? typename PairStream<T>::Sum{} : pairs->join(i);
    const double maximum = std::max(pair.maximum, center.maximum);
    const auto at_maximum = [&](double of) { return of == maximum ? 1 : std::exp(of - maximum); };
    const double pair_factor = problem.gamma * at_maximum(pair.maximum);
    const double partition =
        center.exp_sum * at_maximum(center.maximum) + pair.exp_sum * pair_factor;
    const double log_denominator = maximum + std::log(partition);

    // Positives by their class sum, the anchor itself taken out.
    const T squared_norm = kernels.dot(anchor, anchor, dim);
    double positives = 0;
    double positive_logits = 0;
    std::vector<T> positive_row;
    if (problem.alpha > 0) {
      const int32_t slot = classes.slots[problem.labels[i]];
      positives = static_cast<double>(classes.counts[slot] - 1);
      if (positives > 0) {
        positive_row.resize(dim);
        kernels.subtract(positive_row.data(), classes.sum(slot), anchor, dim, 1);
        positive_logits = kernels.dot(anchor, positive_row.data(), dim) / problem.temperature;
      }
    }
    const double center_weight = problem.center_logits == nullptr ? 0 : problem.beta;
    const double weight = center_weight + problem.alpha * positives;
    log_partition[i] = log_denominator;
    pair_weight[i] = static_cast<T>(weight);

    if (anchor_grad != nullptr) {
      T* const grad = anchor_grad + i * dim;
      const auto pair_scale = static_cast<T>(pair_factor / partition);
      if (weight == 0) {
        std::fill_n(grad, dim, T(0));
      } else if (positives > 0) {
        kernels.axpby(grad, positive_row.data(), dim, static_cast<T>(-problem.alpha / weight),
                      pair_scale);
      } else {
        kernels.axpby(grad, anchor, dim, 0, pair_scale);
      }
    }

    // A NaN reaches the loss even where nothing else uses it.
    double loss = (squared_norm + pair.exp_sum + center.exp_sum + center.target) * 0;
    if (weight > 0) {
      double log_likelihood = 0;
      if (center_weight > 0) log_likelihood += center_weight * (center.target - log_denominator);
      if (positives > 0) {
        log_likelihood += problem.alpha * (positive_logits - positives * log_denominator);
      }
      loss -= problem.temperature / problem.base_temperature * log_likelihood / weight;
    }
    if (problem.anchor_weight != nullptr) {
      const T factor = static_cast<const T*>(problem.anchor_weight)[i];
      loss = loss * factor + factor * 0;
    }
    return loss;
  }
};

}  // namespace paco::cpu
