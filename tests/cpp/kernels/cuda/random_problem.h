// Random problems for the kernels of paco_loss.
#pragma once

#include <paco/kernels/cuda/device/problem.h>
#include <paco/kernels/cuda/device/warp_products.h>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
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
  bool balanced = false;  // BCL's weights of pairs; the last C rows are prototypes
  bool soft = false;      // with soft targets
  int shares = 2;
};

template <typename Product>
struct RandomProblem {
  using Element = typename Product::Element;

  Settings settings;
  std::vector<Element> features;
  std::vector<int64_t> labels;
  std::vector<float> center_logits;
  std::vector<Element> queue;
  std::vector<int64_t> queue_labels;
  int64_t num_valid = 0;
  std::vector<float> anchor_weight;
  std::vector<int64_t> class_counts;
  std::vector<float> soft_targets;
  float upstream = 1;

  // Unit rows of numbers that the product takes as they are, so that its pairs are exact.
  RandomProblem(const Settings& of, std::mt19937_64& random) : settings(of) {
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
    num_valid = settings.valid < 0 ? settings.queue : settings.valid;
    if (settings.balanced) {
      for (int64_t c = 0; c < settings.classes; ++c) labels.end()[c - settings.classes] = c;
      class_counts.resize(static_cast<size_t>(settings.classes));
      for (const int64_t label : labels) ++class_counts[static_cast<size_t>(label)];
      for (int64_t i = 0; i < num_valid; ++i) {
        ++class_counts[static_cast<size_t>(queue_labels[static_cast<size_t>(i)])];
      }
    }
    // Rows beyond the valid ones must not matter.
    for (auto i = static_cast<size_t>(num_valid); i < queue_labels.size(); ++i) {
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
    soft_targets.resize(settings.soft ? center_logits.size() : 0);
    for (size_t begin = 0; begin < soft_targets.size();
         begin += static_cast<size_t>(settings.classes)) {
      const auto row = soft_targets.begin() + static_cast<std::ptrdiff_t>(begin);
      float sum = 0;
      for (auto share = row; share != row + settings.classes; ++share) {
        *share = std::uniform_real_distribution<float>(0, 1)(random);
        sum += *share;
      }
      for (auto share = row; share != row + settings.classes; ++share) *share /= sum;
    }
    anchor_weight.resize(settings.weighted ? static_cast<size_t>(settings.anchors) : 0);
    for (float& value : anchor_weight) value = std::uniform_real_distribution<float>(0, 2)(random);
    upstream = std::uniform_real_distribution<float>(0.5, 2)(random);
  }

  DeviceProblem arguments() const { return DeviceProblem(problem()); }

  PaCoLossProblem problem() const {
    const auto nullable = [](const auto& array) { return array.empty() ? nullptr : array.data(); };
    return {
        .type = ElementType::kFloat32,  // the launches' business, as is the next
        .center_type = ElementType::kFloat32,
        .features = features.data(),
        .labels = labels.data(),
        .center_logits = nullable(center_logits),
        .queue = nullable(queue),
        .queue_labels = nullable(queue_labels),
        .num_valid = settings.valid < 0 ? nullptr : &num_valid,
        .anchor_weight = nullable(anchor_weight),
        .class_counts = nullable(class_counts),
        .soft_targets = nullable(soft_targets),
        .num_rows = settings.rows,
        .num_anchors = settings.anchors,
        .num_classes = settings.centers || settings.balanced ? settings.classes : 0,
        .queue_rows = settings.queue,
        .queue_stride = settings.dim,
        .dim = settings.dim,
        .alpha = settings.alpha,
        .beta = settings.beta,
        .gamma = settings.gamma,
        .temperature = settings.temperature,
        .base_temperature = settings.base_temperature,
        .label_smoothing = settings.smoothing,
    };
  }
};

}  // namespace paco::cuda
