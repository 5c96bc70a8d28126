#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "anchors.h"
#include "class_sums.h"
#include "columns.h"
#include "pair_stream.h"
#include "pair_weights.h"
#include "products.h"
#include "row_kernels.h"

namespace paco::cpu {

template <typename T>
Split<T> split(double number) {
  const auto high = static_cast<T>(number);
  return {high, static_cast<T>(number - static_cast<double>(high))};
}

// The factor of each anchor's gradient: upstream / (A T_base) times the weight of the anchor, 0 for
// an anchor without center and positives.
template <typename T>
std::vector<T> anchor_scales(const PaCoLossProblem& problem, const PaCoLossGradients& gradients) {
  const auto* const pair_weight = static_cast<const T*>(gradients.pair_weight);
  std::vector<T> scales(problem.num_anchors);
  if (gradients.grad_losses != nullptr) {
    const auto* const grad_losses = static_cast<const T*>(gradients.grad_losses);
    for (int64_t i = 0; i < problem.num_anchors; ++i) {
      if (pair_weight[i] != 0)
        scales[i] = grad_losses[i] / static_cast<T>(problem.base_temperature);
    }
    return scales;
  }
  const auto grad_loss = static_cast<double>(*static_cast<const T*>(gradients.grad_loss));
  const auto scale = static_cast<T>(
      grad_loss / (static_cast<double>(problem.num_anchors) * problem.base_temperature));
  const auto* const weights = static_cast<const T*>(problem.anchor_weight);
  for (int64_t i = 0; i < problem.num_anchors; ++i) {
    if (pair_weight[i] != 0) scales[i] = weights == nullptr ? scale : scale * weights[i];
  }
  return scales;
}

// The gradient to features as contrast to the anchors' pairs,
//   sum_i scales_i gamma exp(p_ij - L_i) z_i, times the weight of the pair where it has one:
// rows of features lie along the lanes, anchors are streamed.
template <typename T>
void pair_gradient(T* gradient, const PaCoLossProblem& problem, const std::vector<T>& scales,
                   const double* log_partition, const Threads& threads) {
  const Rows features = feature_rows(problem);
  const Rows anchors = anchor_matrix(problem);
  const int64_t num_anchors = problem.num_anchors;
  const T scale = 1 / static_cast<T>(problem.temperature);
  const double log_gamma = std::log(problem.gamma);
  const int64_t block = std::clamp(divide_up(features.size, threads.count), kLanes, kAnchorBlock);
  dispatch_products<T>(problem.type, [&]<typename Products>() {
    threads.parallel_for(
        0, divide_up(features.size, block), /*grain_size=*/1, [&](int64_t begin, int64_t end) {
          Products products;
          for (int64_t j = begin * block; j < std::min(end * block, features.size); j += block) {
            const int64_t size = std::min(block, features.size - j);
            const auto lanes = Products::lanes(features.narrow(j, size));
            const int64_t stride = lanes.stride();
            for (int64_t i = 0; i < num_anchors; i += kTileColumns) {
              const int64_t tile = std::min(kTileColumns, num_anchors - i);
              products.set_rows(anchors.narrow(i, tile));
              T* const logits = products.logits(lanes, scale);
              for (int64_t k = i; k < i + tile; ++k) {
                T* const row = logits + (k - i) * stride;
                if (scales[k] == 0) {
                  std::fill_n(row, stride, T(0));
                  continue;
                }
                row_kernels<T>().exp_affine(row, row, lanes.width(),
                                            split<T>(log_partition[k] - log_gamma), scales[k], 0);
                const int64_t self = problem.row_of(k) - j;
                if (self >= 0 && self < size) row[self] = 0;
              }
              if (problem.class_counts != nullptr) {
                const auto factors = anchor_pair_weights<T>(problem.class_counts,
                                                            problem.labels_of_anchors() + i, tile);
                const auto labels = lane_labels<kAnchorBlock>(problem.labels + j, size);
                std::array<T, kAnchorBlock> sums;
                tile_kernels<T>().lane_weigh(logits, stride, tile, lanes.width(), factors.data(),
                                             labels.data(), sums.data());
              }
              products.weigh_rows(gradient + j * features.dim, size, /*accumulate=*/i > 0);
            }
            for (int64_t k = j; problem.class_counts != nullptr && k < j + size; ++k) {
              const auto count = static_cast<T>(problem.class_counts[problem.labels[k]]);
              T* const row = gradient + k * features.dim;
              row_kernels<T>().axpby(row, row, features.dim, 0, 1 / count);
            }
          }
        });
  });
}

// The gradient to the rows of features: as contrast, and as anchors what the forward pass left.
template <typename T>
void feature_gradient(const PaCoLossProblem& problem, const std::vector<T>& scales,
                      const PaCoLossGradients& gradients, const Threads& threads) {
  const auto& kernels = row_kernels<T>();
  const int64_t num_anchors = problem.num_anchors;
  const int64_t dim = problem.dim;
  const Rows features = feature_rows(problem);
  const int64_t* const anchor_labels = problem.labels_of_anchors();
  const auto* const pair_weight = static_cast<const T*>(gradients.pair_weight);
  const auto* const anchor_grad = static_cast<const T*>(gradients.anchor_grad);

  std::vector<T> positive_scales(num_anchors);
  for (int64_t i = 0; i < num_anchors; ++i) {
    if (scales[i] != 0)
      positive_scales[i] = scales[i] * static_cast<T>(problem.alpha / pair_weight[i]);
  }
  ClassSums<T> classes(anchor_labels, problem.alpha > 0 ? num_anchors : 0, dim);
  if (problem.alpha > 0) {
    classes.add(anchor_matrix(problem), anchor_labels, positive_scales.data(), threads);
  }
  std::vector<int64_t> anchor_of(features.size, -1);  // of each row, -1 where it is none
  for (int64_t i = 0; i < num_anchors; ++i) {
    const int64_t row = problem.row_of(i);
    if (row >= 0) anchor_of[row] = i;
  }

  // A gradient is summed in T, and then written in the type of the features.
  std::vector<T> buffer;
  auto* gradient = static_cast<T*>(gradients.grad_features);
  if (problem.type != kElementType<T>) {
    buffer.resize(features.size * dim);
    gradient = buffer.data();
  }
  if (problem.gamma > 0) {
    pair_gradient(gradient, problem, scales, gradients.log_partition, threads);
  } else {
    std::fill_n(gradient, features.size * dim, T(0));
  }
  const Rows result{gradients.grad_features, problem.type, features.size, dim, dim};
  threads.parallel_for(0, features.size, kThreadNumbers / dim + 1, [&](int64_t begin, int64_t end) {
    std::vector<T> row_buffer;
    std::vector<T> others(dim);
    for (int64_t k = begin; k < end; ++k) {
      T* const row = gradient + k * dim;
      const int64_t anchor = anchor_of[k];
      const bool is_anchor = anchor >= 0;
      const int32_t slot =
          problem.alpha > 0 ? classes.slots[problem.labels[k]] : LabelSlots::kAbsent;
      // The anchors that have k among their positives: those of its class but itself. alpha / W of
      // an anchor without positives may be any number.
      if (slot != LabelSlots::kAbsent && classes.counts[slot] > (is_anchor ? 1 : 0)) {
        kernels.subtract(others.data(), classes.sum(slot), row_numbers(features, k, row_buffer),
                         dim, is_anchor ? positive_scales[anchor] : 0);
        kernels.axpby(row, others.data(), dim, -1, 1);
      }
      if (is_anchor) kernels.axpby(row, anchor_grad + k * dim, dim, scales[anchor], 1);
      if (!buffer.empty()) {
        convert(const_cast<void*>(result.at(k)), result.type, row, kElementType<T>, dim);
      }
    }
  });
}

template <typename T>
void center_gradient(const PaCoLossProblem& problem, const std::vector<T>& scales,
                     const PaCoLossGradients& gradients, const Threads& threads) {
  const auto& kernels = row_kernels<T>();
  const int64_t num_classes = problem.num_classes;
  const Rows logits = center_rows(problem, problem.center_logits);
  const Rows result = center_rows(problem, gradients.grad_center_logits);
  const auto* const pair_weight = static_cast<const T*>(gradients.pair_weight);
  const auto smoothing = static_cast<T>(problem.label_smoothing);
  const int64_t all_classes = problem.label_range();
  const T other = all_classes > 1 ? smoothing / static_cast<T>(all_classes - 1) : T(0);
  const bool direct = problem.center_type == kElementType<T>;
  threads.parallel_for(0, problem.num_anchors, /*grain_size=*/16, [&](int64_t begin, int64_t end) {
    std::vector<T> logits_buffer;
    std::vector<T> buffer(direct ? 0 : num_classes);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t center_row = problem.center_row_of(i);
      if (center_row < 0) continue;
      void* const to = const_cast<void*>(result.at(center_row));
      T* const row = direct ? static_cast<T*>(to) : buffer.data();
      const T scale = scales[i] * static_cast<T>(problem.temperature);
      if (scale == 0) {
        std::fill_n(row, num_classes, T(0));
      } else {
        const T target_scale = scale * static_cast<T>(problem.beta / pair_weight[i]);
        kernels.exp_affine(row, row_numbers(logits, center_row, logits_buffer), num_classes,
                           split<T>(gradients.log_partition[i]), scale, target_scale * other);
        const T* const targets = soft_targets_of<T>(problem, i);
        if (targets != nullptr) {
          kernels.axpby(row, targets, num_classes, -target_scale, 1);
        } else {
          const int64_t own = problem.labels_of_anchors()[i] - problem.share.first_class;
          if (own >= 0 && own < num_classes) row[own] -= target_scale * (1 - smoothing - other);
        }
      }
      if (!direct) convert(to, result.type, row, kElementType<T>, num_classes);
    }
  });
}

}  // namespace paco::cpu
