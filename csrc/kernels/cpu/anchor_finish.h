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

template <typename T>
struct CenterTerms {
  T maximum = kMinusInfinity<T>;  // of s_ic
  T exp_sum = 0;                  // sum_c exp(s_ic - maximum)
  T target = 0;                   // sum_c t_ic s_ic

  CenterTerms() = default;
  CenterTerms(const T* logits, int64_t num_classes, int64_t label, T smoothing) {
    const auto& kernels = row_kernels<T>();
    maximum = kernels.maximum(logits, num_classes);
    exp_sum = kernels.exp_sum(logits, num_classes, maximum);
    target = logits[label];
    if (smoothing > 0) {
      const T others = kernels.sum(logits, num_classes) - logits[label];
      target =
          (1 - smoothing) * logits[label] + smoothing / static_cast<T>(num_classes - 1) * others;
    }
  }
};

template <typename T>
struct AnchorFinish {
  const PaCoLossProblem& problem;
  const ClassSums<T>& classes;  // empty where alpha is 0
  PairStream<T>* pairs;         // null where gamma is 0
  T* log_partition;             // [A]
  T* pair_weight;               // [A]
  T* anchor_grad;               // [A, D]: what the pairs left, made the gradient; or null

  // Returns l_i, times the weight of the anchor.
  T operator()(int64_t i, const T* anchor, const CenterTerms<T>& center) const {
    const auto& kernels = row_kernels<T>();
    const int64_t dim = problem.dim;
    const auto alpha = static_cast<T>(problem.alpha);
    const auto gamma = static_cast<T>(problem.gamma);
    const auto temperature = static_cast<T>(problem.temperature);

    const auto pair = pairs == nullptr ? typename PairStream<T>::Sum{} : pairs->join(i);
    const T maximum = std::max(pair.maximum, center.maximum);
    const auto at_maximum = [&](T sum, T of) {
      return of == maximum ? sum : sum * std::exp(of - maximum);
    };
    const T log_denominator = maximum + std::log(at_maximum(center.exp_sum, center.maximum) +
                                                 gamma * at_maximum(pair.exp_sum, pair.maximum));

    // Positives by their class sum, the anchor itself taken out.
    const T squared_norm = kernels.dot(anchor, anchor, dim);
    T positives = 0;
    T positive_logits = 0;
    const T* class_sum = nullptr;
    if (alpha > 0) {
      const int32_t slot = classes.slots[problem.labels[i]];
      class_sum = classes.sum(slot);
      positives = static_cast<T>(classes.counts[slot] - 1);
      positive_logits = (kernels.dot(anchor, class_sum, dim) - squared_norm) / temperature;
    }
    const T center_weight = problem.center_logits == nullptr ? 0 : static_cast<T>(problem.beta);
    const T weight = center_weight + alpha * positives;
    log_partition[i] = log_denominator;
    pair_weight[i] = weight;

    if (anchor_grad != nullptr) {
      T* const grad = anchor_grad + i * dim;
      const T pair_scale = gamma * std::exp(pair.maximum - log_denominator);
      if (weight == 0) {
        std::fill_n(grad, dim, T(0));
      } else if (positives > 0) {
        kernels.axpby(grad, class_sum, dim, -alpha / weight, pair_scale);
        kernels.axpby(grad, anchor, dim, alpha / weight, 1);
      } else {
        kernels.axpby(grad, anchor, dim, 0, pair_scale);
      }
    }

    // A NaN reaches the loss even where nothing else uses it.
    T loss = (squared_norm + pair.exp_sum + center.exp_sum) * 0;
    if (weight > 0) {
      T log_likelihood = 0;
      if (center_weight > 0) log_likelihood += center_weight * (center.target - log_denominator);
      if (positives > 0) {
        log_likelihood += alpha * (positive_logits - positives * log_denominator);
      }
      loss -= temperature / static_cast<T>(problem.base_temperature) * log_likelihood / weight;
    }
    if (problem.anchor_weight != nullptr) {
      const T factor = static_cast<const T*>(problem.anchor_weight)[i];
      loss = loss * factor + factor * 0;
    }
    return loss;
  }
};

}  // namespace paco::cpu
