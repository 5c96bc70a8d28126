#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "kernels/parallel_for.h"

namespace paco::testing {

/// A seed that no other run had, or PACO_TEST_SEED to repeat one.
inline uint64_t fresh_seed() {
  const char* const seed = std::getenv("PACO_TEST_SEED");
  return seed == nullptr ? std::random_device{}() : std::stoull(seed);
}

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  /// Uniform in [low, high].
  int64_t integer(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(engine_);
  }
  double real(double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(engine_);
  }
  bool chance(double probability) { return real(0, 1) < probability; }

  std::vector<double> normal(int64_t size) {
    std::vector<double> numbers(size);
    std::normal_distribution<double> distribution;
    for (double& number : numbers) number = distribution(engine_);
    return numbers;
  }
  std::vector<double> unit_rows(int64_t rows, int64_t dim) {
    std::vector<double> numbers = normal(rows * dim);
    for (int64_t r = 0; r < rows; ++r) {
      double square = 0;
      for (int64_t d = 0; d < dim; ++d) square += std::pow(numbers[r * dim + d], 2);
      for (int64_t d = 0; d < dim; ++d) numbers[r * dim + d] /= std::sqrt(square);
    }
    return numbers;
  }
  std::vector<int64_t> labels(int64_t size, int64_t classes) {
    std::vector<int64_t> numbers(size);
    for (int64_t& number : numbers) number = integer(0, classes - 1);
    return numbers;
  }

 private:
  std::mt19937_64 engine_;
};

/// `count` threads, started anew for each call.
template <int64_t count>
Threads test_threads() {
  return {count, [](int64_t begin, int64_t end, int64_t grain_size, RangeFunction body) {
            const int64_t share = std::max((end - begin + count - 1) / count, grain_size);
            std::vector<std::thread> threads;
            for (int64_t first = begin; first < end; first += share) {
              threads.emplace_back(body, first, std::min(first + share, end));
            }
            for (std::thread& thread : threads) thread.join();
          }};
}

}  // namespace paco::testing
