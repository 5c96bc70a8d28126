// Random problems, drawn afresh on every run; a failure prints the seed that repeats it.
#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>

#include "oracle.h"

namespace paco::testing {

/// Draws sizes and settings, and seeds torch's own generator with the same seed.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) { torch::manual_seed(seed); }

  /// A seed that no other run had, or PACO_TEST_SEED to repeat one.
  static uint64_t fresh_seed() {
    const char* seed = std::getenv("PACO_TEST_SEED");
    return seed == nullptr ? std::random_device{}() : std::stoull(seed);
  }

  /// Uniform in [low, high].
  int64_t integer(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(engine_);
  }
  double real(double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(engine_);
  }
  bool chance(double probability) { return real(0, 1) < probability; }

 private:
  std::mt19937_64 engine_;
};

inline torch::Tensor unit_rows(int64_t rows, int64_t columns, torch::Dtype dtype) {
  const torch::Tensor x = torch::randn({rows, columns}, dtype);
  return x / x.norm(2, 1, true);
}

/// A problem for paco_loss with every option now on, now off.
inline LossProblem random_loss_problem(Random& random, torch::Dtype dtype) {
  LossProblem p;
  const int64_t rows = random.integer(1, 70);
  const int64_t dim = random.integer(1, 40);
  const int64_t classes = random.integer(1, 12);
  const int64_t anchors = random.integer(1, rows);
  p.num_anchors = anchors;
  p.features = unit_rows(rows, dim, dtype);
  p.labels = torch::randint(classes, {rows}, torch::kInt64);
  p.options.alpha = random.chance(0.2) ? 0 : random.real(0.01, 1.5);
  p.options.beta = random.chance(0.2) ? 0.7 : 1;
  p.options.gamma = random.chance(0.2) ? 0 : random.real(0.1, 1.5);
  p.options.temperature = random.real(0.07, 1);
  if (random.chance(0.5)) {
    p.options.base_temperature = random.real(0.07, 1);
  }
  if (p.options.alpha == 0 || p.options.gamma == 0 || random.chance(0.7)) {
    p.center_logits = torch::randn({anchors, classes}, dtype);
    p.options.label_smoothing = classes > 1 && random.chance(0.5) ? random.real(0, 0.3) : 0;
    if (random.chance(0.3)) {
      p.options.label_smoothing = 0;
      const auto sums = dtype == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
      p.soft_targets = torch::randn({anchors, classes}, sums).softmax(1);
    }
  }
  if (random.chance(0.7)) {
    const int64_t size = random.integer(1, 90);
    p.queue = unit_rows(size, dim, dtype);
    p.queue_labels = torch::randint(classes, {size}, torch::kInt64);
    if (random.chance(0.6)) {
      const int64_t valid = random.integer(0, size);
      p.num_valid = torch::tensor(valid);
      // Unused rows must not matter.
      p.queue->slice(0, valid).fill_(std::numeric_limits<double>::quiet_NaN());
      p.queue_labels->slice(0, valid).fill_(-1);
    }
  }
  if (random.chance(0.3)) {
    p.anchor_weight = torch::rand({anchors}, dtype);
  }
  // Left out where it says nothing new.
  if (p.center_logits || anchors == rows) p.num_anchors = std::nullopt;
  return p;
}

}  // namespace paco::testing
