#include "kernels/cpu/bcl_loss.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/argument_error.h"
#include "kernels/cpu/rows.h"
#include "random.h"

namespace paco::testing {
namespace {

/// Rows of T, which hold what a problem points to.
template <typename T>
struct Problem {
  int64_t dim;
  double temperature;
  std::vector<T> features;
  std::vector<T> prototypes;
  std::vector<T> queue;
  std::vector<int64_t> labels;
  std::vector<int64_t> queue_labels;
  int64_t num_valid = 0;

  explicit Problem(Random& random) : dim(random.integer(1, 70)), temperature(random.real(0.07, 1)) {
    const int64_t rows = random.integer(1, random.chance(0.3) ? 400 : 40);
    const int64_t classes = random.integer(1, random.chance(0.3) ? 600 : 12);
    const auto draw = [&](int64_t count) {
      const std::vector<double> numbers = random.unit_rows(count, dim);
      return std::vector<T>(numbers.begin(), numbers.end());
    };
    features = draw(rows);
    prototypes = draw(classes);
    labels = random.labels(rows, classes);
    if (random.chance(0.5)) return;
    const int64_t capacity = random.integer(1, 400);
    num_valid = random.integer(0, capacity);
    queue = draw(capacity);
    queue_labels = random.labels(capacity, classes);
    // The rows that are not valid must not matter.
    std::fill(queue.begin() + num_valid * dim, queue.end(), static_cast<T>(std::nan("")));
    std::fill(queue_labels.begin() + num_valid, queue_labels.end(), -1);
  }

  int64_t rows_of(const std::vector<T>& numbers) const {
    return static_cast<int64_t>(numbers.size()) / dim;
  }

  BCLLossProblem plain() const {
    const bool has_queue = !queue.empty();
    return {.type = cpu::kElementType<T>,
            .features = features.data(),
            .labels = labels.data(),
            .prototypes = prototypes.data(),
            .queue = has_queue ? queue.data() : nullptr,
            .queue_labels = has_queue ? queue_labels.data() : nullptr,
            .num_valid = has_queue ? &num_valid : nullptr,
            .num_rows = rows_of(features),
            .num_classes = rows_of(prototypes),
            .queue_rows = rows_of(queue),
            .queue_stride = dim,
            .dim = dim,
            .temperature = temperature};
  }
};

/// The loss, and behind it its gradient [M + C, D].
template <typename T>
std::vector<double> run(const Problem<T>& p, const Threads& threads) {
  T loss = 0;
  T loss_alone = 0;
  std::vector<T> gradient(p.features.size() + p.prototypes.size());
  cpu::bcl_loss(p.plain(), {&loss, gradient.data()}, threads);
  cpu::bcl_loss(p.plain(), {&loss_alone, nullptr}, threads);
  EXPECT_EQ(loss, loss_alone);
  std::vector<double> result{static_cast<double>(loss)};
  result.insert(result.end(), gradient.begin(), gradient.end());
  return result;
}

/// Term by term as in the paper, and the derivative of each term.
template <typename T>
std::vector<double> definition(const Problem<T>& p) {
  const int64_t rows = p.rows_of(p.features);
  const int64_t kept = rows + p.rows_of(p.prototypes);
  const int64_t columns = kept + p.num_valid;
  const auto row = [&](int64_t j) {
    return j < rows   ? p.features.data() + j * p.dim
           : j < kept ? p.prototypes.data() + (j - rows) * p.dim
                      : p.queue.data() + (j - kept) * p.dim;
  };
  const auto label = [&](int64_t j) {
    return j < rows ? p.labels[j] : j < kept ? j - rows : p.queue_labels[j - kept];
  };
  std::vector<double> counts(kept - rows);
  for (int64_t j = 0; j < columns; ++j) ++counts[label(j)];
  std::vector<double> result(1 + kept * p.dim);
  for (int64_t i = 0; i < rows; ++i) {
    std::vector<double> pairs(columns);
    std::vector<double> weights(columns);
    double denominator = 0;
    for (int64_t j = 0; j < columns; ++j) {
      if (j == i) continue;
      for (int64_t d = 0; d < p.dim; ++d) {
        pairs[j] += static_cast<double>(row(i)[d]) * row(j)[d] / p.temperature;
      }
      weights[j] = 1 / (counts[label(j)] - (label(j) == label(i) ? 1 : 0));
      denominator += weights[j] * std::exp(pairs[j]);
    }
    for (int64_t j = 0; j < columns; ++j) {
      if (j == i) continue;
      const double target = label(j) == label(i) ? 1 / (counts[label(i)] - 1) : 0;
      result[0] -= target * (pairs[j] - std::log(denominator)) / static_cast<double>(rows);
      const double grad = (weights[j] * std::exp(pairs[j]) / denominator - target) /
                          (static_cast<double>(rows) * p.temperature);
      for (int64_t d = 0; d < p.dim; ++d) {
        result[1 + i * p.dim + d] += grad * row(j)[d];
        if (j < kept) result[1 + j * p.dim + d] += grad * row(i)[d];
      }
    }
  }
  return result;
}

template <typename T>
void expect_definition(double tolerance) {
  for (int repetition = 0; repetition < 40; ++repetition) {
    const uint64_t seed = fresh_seed();
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(seed);
    const Problem<T> p(random);
    const std::vector<double> expected = definition(p);
    const std::vector<double> one = run(p, test_threads<1>());
    const std::vector<double> many = run(p, test_threads<3>());
    ASSERT_EQ(one, run(p, test_threads<1>()));
    for (size_t i = 0; i < expected.size(); ++i) {
      const double size =
          i == 0 ? 1 : 1 / (static_cast<double>(p.rows_of(p.features)) * p.temperature);
      ASSERT_NEAR(one[i], expected[i], tolerance * size) << i;
      ASSERT_NEAR(many[i], expected[i], tolerance * size) << i;
    }
  }
}

TEST(BCLLossKernel, IsItsDefinition) {
  expect_definition<double>(1e-10);
  expect_definition<float>(2e-5);
}

TEST(BCLLossKernel, RefusesALabelWithoutAPrototype) {
  Random random(fresh_seed());
  Problem<float> p(random);
  p.labels.back() = p.rows_of(p.prototypes);
  float loss = -1;
  EXPECT_THROW(cpu::bcl_loss(p.plain(), {&loss, nullptr}, test_threads<1>()), ArgumentError);
  EXPECT_EQ(loss, -1);
}

}  // namespace
}  // namespace paco::testing
