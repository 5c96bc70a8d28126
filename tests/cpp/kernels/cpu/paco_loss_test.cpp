#include "kernels/cpu/paco_loss.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/argument_error.h"
#include "kernels/cpu/rows.h"
#include "random.h"

namespace paco::testing {
namespace {

/// A problem and the numbers that it points to. The numbers are those that its type can hold, in
/// double.
struct Problem {
  PaCoLossProblem plain{};
  std::vector<double> features;
  std::vector<double> center_logits;
  std::vector<double> queue;
  std::vector<double> anchor_weight;
  std::vector<double> soft_targets;
  std::vector<int64_t> labels;
  std::vector<int64_t> queue_labels;
  int64_t num_valid = 0;
  double grad_loss = 1.5;
  std::vector<std::vector<char>> memory;

  const void* store(std::vector<double>& numbers, ElementType type) {
    auto& bytes = memory.emplace_back(numbers.size() * element_bytes(type));
    const auto size = static_cast<int64_t>(numbers.size());
    cpu::convert(bytes.data(), type, numbers.data(), ElementType::kFloat64, size);
    cpu::convert(numbers.data(), ElementType::kFloat64, bytes.data(), type, size);
    return bytes.data();
  }
};

Problem random_problem(Random& random, ElementType type) {
  Problem p;
  PaCoLossProblem& plain = p.plain;
  plain.type = type;
  plain.num_rows = random.integer(1, random.chance(0.2) ? 600 : 40);
  plain.num_anchors = random.integer(1, plain.num_rows);
  plain.dim = random.integer(1, 40);
  const int64_t classes = random.integer(1, 12);
  plain.alpha = random.chance(0.2) ? 0 : random.real(0.01, 1.5);
  plain.beta = random.chance(0.2) ? 0.7 : 1;
  plain.gamma = random.chance(0.2) ? 0 : random.real(0.1, 1.5);
  plain.temperature = random.real(0.07, 1);
  plain.base_temperature = random.real(0.07, 1);
  p.features = random.unit_rows(plain.num_rows, plain.dim);
  plain.features = p.store(p.features, type);
  p.labels = random.labels(plain.num_rows, classes);
  if (plain.alpha == 0 || plain.gamma == 0 || random.chance(0.7)) {
    plain.num_classes = classes;
    plain.center_type = random.chance(0.5) ? type : accumulate_type(type);
    p.center_logits = random.normal(plain.num_anchors * classes);
    plain.center_logits = p.store(p.center_logits, plain.center_type);
    plain.label_smoothing = classes > 1 && random.chance(0.5) ? 0.1 : 0;
    if (random.chance(0.3)) {
      plain.label_smoothing = 0;
      for (int64_t i = 0; i < plain.num_anchors; ++i) {
        std::vector<double> row(classes);
        for (double& share : row) share = random.real(0, 1);
        const double sum = std::accumulate(row.begin(), row.end(), 0.0);
        for (const double share : row) p.soft_targets.push_back(share / sum);
      }
      plain.soft_targets = p.store(p.soft_targets, accumulate_type(type));
    }
  }
  if (random.chance(0.7)) {
    plain.queue_rows = random.integer(1, 90);
    plain.queue_stride = plain.dim;
    p.num_valid = random.integer(0, plain.queue_rows);
    p.queue = random.unit_rows(plain.queue_rows, plain.dim);
    // The rows that are not valid must not matter.
    std::fill(p.queue.begin() + p.num_valid * plain.dim, p.queue.end(), std::nan(""));
    plain.queue = p.store(p.queue, type);
    p.queue_labels = random.labels(plain.queue_rows, classes);
    std::fill(p.queue_labels.begin() + p.num_valid, p.queue_labels.end(), -1);
  }
  if (random.chance(0.3)) {
    for (int64_t i = 0; i < plain.num_anchors; ++i) p.anchor_weight.push_back(random.real(0, 2));
    plain.anchor_weight = p.store(p.anchor_weight, accumulate_type(type));
  }
  return p;
}

void point_to_labels(Problem& p) {
  p.plain.labels = p.labels.data();
  p.plain.queue_labels = p.queue_labels.data();
  p.plain.num_valid = p.plain.queue == nullptr ? nullptr : &p.num_valid;
}

struct Result {
  double loss = 0;
  std::vector<double> grad_features;
  std::vector<double> grad_center_logits;
};

/// Term by term as in the papers, and the derivative of each term.
Result definition(const Problem& p) {
  const PaCoLossProblem& q = p.plain;
  const int64_t dim = q.dim;
  const int64_t columns = q.num_rows + p.num_valid;
  const bool centers = q.center_logits != nullptr;
  const auto row = [&](int64_t j) {
    return j < q.num_rows ? p.features.data() + j * dim : p.queue.data() + (j - q.num_rows) * dim;
  };
  const auto label = [&](int64_t j) {
    return j < q.num_rows ? p.labels[j] : p.queue_labels[j - q.num_rows];
  };
  const int64_t num_centers = centers ? q.num_classes : 0;
  Result result;
  result.grad_features.resize(q.num_rows * dim);
  result.grad_center_logits.resize(q.num_anchors * num_centers);
  for (int64_t i = 0; i < q.num_anchors; ++i) {
    std::vector<double> pairs(columns);
    double denominator = 0;
    double positives = 0;
    for (int64_t j = 0; j < columns; ++j) {
      if (j == i) continue;
      for (int64_t d = 0; d < dim; ++d) pairs[j] += row(i)[d] * row(j)[d] / q.temperature;
      denominator += q.gamma * std::exp(pairs[j]);
      positives += label(j) == label(i) ? 1 : 0;
    }
    const double* const logits = p.center_logits.data() + i * q.num_classes;
    for (int64_t c = 0; c < num_centers; ++c) denominator += std::exp(logits[c]);
    const double weight = (centers ? q.beta : 0) + q.alpha * positives;
    if (weight == 0) continue;
    const double log_denominator = std::log(denominator);
    const double anchor = (p.anchor_weight.empty() ? 1 : p.anchor_weight[i]) * q.temperature /
                          q.base_temperature / static_cast<double>(q.num_anchors);
    for (int64_t j = 0; j < columns; ++j) {
      if (j == i) continue;
      const double target = label(j) == label(i) ? q.alpha / weight : 0;
      result.loss -= anchor * target * (pairs[j] - log_denominator);
      const double grad = p.grad_loss * anchor *
                          (q.gamma * std::exp(pairs[j] - log_denominator) - target) / q.temperature;
      for (int64_t d = 0; d < dim; ++d) {
        result.grad_features[i * dim + d] += grad * row(j)[d];
        if (j < q.num_rows) result.grad_features[j * dim + d] += grad * row(i)[d];
      }
    }
    for (int64_t c = 0; c < num_centers; ++c) {
      const double share = !p.soft_targets.empty() ? p.soft_targets[i * q.num_classes + c]
                           : c == p.labels[i]
                               ? 1 - q.label_smoothing
                               : q.label_smoothing / static_cast<double>(q.num_classes - 1);
      const double target = share * q.beta / weight;
      result.loss -= anchor * target * (logits[c] - log_denominator);
      result.grad_center_logits[i * q.num_classes + c] =
          p.grad_loss * anchor * (std::exp(logits[c] - log_denominator) - target);
    }
  }
  return result;
}

template <typename T>
Result run(const Problem& p, const Threads& threads) {
  const PaCoLossProblem& q = p.plain;
  std::vector<double> log_partition(q.num_anchors);
  std::vector<T> state(q.num_anchors + q.num_anchors * q.dim);
  T* const pair_weight = state.data();
  T* const anchor_grad = pair_weight + q.num_anchors;
  T loss = 0;
  cpu::paco_loss_forward(q, {&loss, log_partition.data(), pair_weight, anchor_grad}, threads);
  T loss_alone = 0;
  cpu::paco_loss_forward(q, {&loss_alone, log_partition.data(), pair_weight, nullptr}, threads);
  EXPECT_TRUE(loss == loss_alone || (std::isnan(loss) && std::isnan(loss_alone)));

  const T grad_loss = static_cast<T>(p.grad_loss);
  std::vector<char> grad_features(q.num_rows * q.dim * element_bytes(q.type));
  const int64_t num_centers = q.center_logits == nullptr ? 0 : q.num_classes;
  std::vector<char> grad_logits(q.num_anchors * num_centers * element_bytes(q.center_type));
  cpu::paco_loss_backward(q,
                          {&grad_loss, log_partition.data(), pair_weight, anchor_grad,
                           grad_features.data(), num_centers > 0 ? grad_logits.data() : nullptr},
                          threads);
  Result result{static_cast<double>(loss), std::vector<double>(q.num_rows * q.dim),
                std::vector<double>(q.num_anchors * num_centers)};
  cpu::convert(result.grad_features.data(), ElementType::kFloat64, grad_features.data(), q.type,
               q.num_rows * q.dim);
  cpu::convert(result.grad_center_logits.data(), ElementType::kFloat64, grad_logits.data(),
               q.center_type, q.num_anchors * num_centers);
  return result;
}

Result run(const Problem& p, const Threads& threads = test_threads<3>()) {
  return p.plain.type == ElementType::kFloat64 ? run<double>(p, threads) : run<float>(p, threads);
}

/// The loss from two shares of the columns: rows and centers, and the queue.
template <typename T>
double loss_of_shares(const Problem& p) {
  const PaCoLossProblem& q = p.plain;
  std::vector<int64_t> rows(q.num_anchors);
  std::iota(rows.begin(), rows.end(), 0);
  const std::vector<int64_t> none(q.num_anchors, -1);
  PaCoLossProblem with_rows = q;
  with_rows.queue = nullptr;
  with_rows.num_valid = nullptr;
  with_rows.share = {.anchors = q.features,
                     .anchor_labels = q.labels,
                     .anchor_rows = rows.data(),
                     .center_rows = q.center_logits == nullptr ? 0 : q.num_anchors};
  PaCoLossProblem with_queue = q;
  with_queue.num_rows = 0;
  with_queue.center_logits = with_queue.soft_targets = nullptr;
  with_queue.share = with_rows.share;
  with_queue.share.anchor_rows = none.data();
  with_queue.share.center_rows = 0;

  const int64_t stride = q.num_anchors * 2 * q.dim;
  std::vector<PaCoLossSums> sums(2 * q.num_anchors);
  std::vector<T> sum_rows(2 * stride);
  const Threads threads = test_threads<3>();
  cpu::paco_loss_partial(with_rows, {sums.data(), sum_rows.data(), 1, true}, threads);
  cpu::paco_loss_partial(with_queue,
                         {sums.data() + q.num_anchors, sum_rows.data() + stride, 1, true}, threads);
  PaCoLossProblem joined = q;
  if (q.center_logits == nullptr) joined.beta = 0;
  std::vector<double> log_partition(q.num_anchors);
  std::vector<double> losses(q.num_anchors);
  std::vector<T> pair_weight(q.num_anchors);
  std::vector<T> anchor_grad(q.num_anchors * q.dim);
  cpu::paco_loss_combine(
      joined, {sums.data(), sum_rows.data(), 2, true},
      {nullptr, log_partition.data(), pair_weight.data(), anchor_grad.data(), losses.data()},
      threads);
  return std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(q.num_anchors);
}

/// Largest difference, relative to `size`, the size of the terms, or a larger entry.
double error(const std::vector<double>& value, const std::vector<double>& expected, double size) {
  double difference = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference = std::max(difference, std::abs(value[i] - expected[i]));
    size = std::max(size, std::abs(expected[i]));
  }
  return difference / size;
}

struct Case {
  ElementType type;
  double tolerance;
};

class PaCoLossKernel : public ::testing::TestWithParam<Case> {};

TEST_P(PaCoLossKernel, IsItsDefinition) {
  for (int repetition = 0; repetition < 60; ++repetition) {
    const uint64_t seed = fresh_seed();
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(seed);
    Problem p = random_problem(random, GetParam().type);
    point_to_labels(p);
    const Result fast = run(p);
    const Result expected = definition(p);
    const double ratio = p.plain.temperature / p.plain.base_temperature;
    const double size =
        p.grad_loss / static_cast<double>(p.plain.num_anchors) / p.plain.base_temperature;
    const double tolerance = GetParam().tolerance;
    EXPECT_LE(error({fast.loss}, {expected.loss}, ratio), tolerance);
    EXPECT_LE(error(fast.grad_features, expected.grad_features, size), tolerance);
    EXPECT_LE(
        error(fast.grad_center_logits, expected.grad_center_logits, size * p.plain.temperature),
        tolerance);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, PaCoLossKernel,
                         ::testing::Values(Case{ElementType::kFloat64, 1e-10},
                                           Case{ElementType::kFloat32, 2e-5},
                                           Case{ElementType::kFloat16, 3e-3},
                                           Case{ElementType::kBFloat16, 3e-2}));

TEST(PaCoLossKernel, SharesMakeTheLoss) {
  for (int repetition = 0; repetition < 60; ++repetition) {
    const uint64_t seed = fresh_seed();
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(seed);
    Problem p = random_problem(random, ElementType::kFloat64);
    point_to_labels(p);
    const double expected = run(p).loss;
    EXPECT_LE(error({loss_of_shares<double>(p)}, {expected}, 1), 1e-10);
  }
}

TEST(PaCoLossKernel, GivesTheSameBitsOnEveryCall) {
  Random random(fresh_seed());
  Problem p = random_problem(random, ElementType::kFloat32);
  point_to_labels(p);
  const Result first = run(p);
  const Result second = run(p);
  EXPECT_EQ(first.loss, second.loss);
  EXPECT_EQ(first.grad_features, second.grad_features);
  EXPECT_EQ(first.grad_center_logits, second.grad_center_logits);
}

TEST(PaCoLossKernel, NumberOfThreadsDoesNotMatter) {
  Random random(fresh_seed());
  Problem p = random_problem(random, ElementType::kFloat64);
  point_to_labels(p);
  const Result one = run(p, test_threads<1>());
  const Result many = run(p, test_threads<7>());
  EXPECT_NEAR(one.loss, many.loss, 1e-10);
  EXPECT_LE(error(one.grad_features, many.grad_features, 1), 1e-10);
}

TEST(PaCoLossKernel, NotANumberStaysOne) {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    for (const bool with_gamma : {true, false}) {
      Random random(1);
      Problem p = random_problem(random, ElementType::kFloat32);
      while (p.plain.center_logits == nullptr || (p.plain.gamma > 0) != with_gamma) {
        p = random_problem(random, ElementType::kFloat32);
      }
      point_to_labels(p);
      p.features.back() = bad;
      p.plain.features = p.store(p.features, p.plain.type);
      EXPECT_TRUE(std::isnan(run(p).loss)) << bad << ' ' << with_gamma;
    }
  }
}

TEST(PaCoLossKernel, RefusesValuesOutOfRange) {
  Random random(1);
  Problem p = random_problem(random, ElementType::kFloat32);
  while (p.plain.center_logits == nullptr || p.plain.queue == nullptr ||
         p.plain.anchor_weight == nullptr || p.num_valid == 0) {
    p = random_problem(random, ElementType::kFloat32);
  }
  point_to_labels(p);
  run(p);
  const auto refused = [&](auto& number, auto bad, const std::string& name) {
    const auto good = number;
    number = bad;
    try {
      run(p);
      ADD_FAILURE() << "no error for " << name;
    } catch (const ArgumentError& error) {
      EXPECT_EQ(std::string(error.what()).find(name + " must"), 0U) << error.what();
    }
    number = good;
  };
  refused(p.labels.back(), p.plain.num_classes, "labels");
  refused(p.labels.front(), -1, "labels");
  refused(p.queue_labels.front(), p.plain.num_classes, "queue_labels");
  refused(p.num_valid, p.plain.queue_rows + 1, "num_valid");
  refused(p.num_valid, -1, "num_valid");
  p.anchor_weight.front() = -1;
  p.plain.anchor_weight = p.store(p.anchor_weight, ElementType::kFloat32);
  EXPECT_THROW(run(p), ArgumentError);
  p.plain.anchor_weight = nullptr;
  p.plain.label_smoothing = 0;
  std::vector<double> targets(p.plain.num_anchors * p.plain.num_classes);
  for (const double last : {1.0, 0.9, 1.1, -1.0}) {
    for (int64_t i = 0; i < p.plain.num_anchors; ++i) targets[i * p.plain.num_classes] = 1;
    targets[(p.plain.num_anchors - 1) * p.plain.num_classes] = last;
    p.plain.soft_targets = p.store(targets, ElementType::kFloat32);
    if (last == 1) {
      run(p);
    } else {
      EXPECT_THROW(run(p), ArgumentError) << last;
    }
  }
}

}  // namespace
}  // namespace paco::testing
