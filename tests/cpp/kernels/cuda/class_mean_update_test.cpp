#include <gtest/gtest.h>
#include <paco/kernels/cuda/device/class_mean_update.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "host_context.h"

namespace paco::cuda {
namespace {

constexpr int kThreads = 64;

struct Sizes {
  int64_t classes;
  int64_t rows;
  int64_t dim;
};

class ClassMeanUpdateTest : public ::testing::Test {
 protected:
  static size_t size(int64_t count) { return static_cast<size_t>(count); }

  template <typename Mean, typename Feature>
  static std::string run(const ClassMeanProblem& problem) {
    return launch_on_host(
               {problem.num_classes, 1}, kThreads, 0,
               [&](HostContext& context) { add_to_class<Mean, Feature>(context, problem); })
        .violated_check;
  }

  template <typename Mean>
  static ClassMeanProblem problem_of(const Sizes& sizes, std::vector<Mean>& mean,
                                     std::vector<int64_t>& count, const void* features,
                                     const std::vector<int64_t>& labels) {
    return {.mean_type = {},  // the launch's business, as is the next
            .feature_type = {},
            .class_mean = mean.data(),
            .class_count = count.data(),
            .features = features,
            .labels = labels.data(),
            .num_classes = sizes.classes,
            .num_rows = sizes.rows,
            .dim = sizes.dim};
  }

  template <typename Mean, typename Feature>
  void expect_as_defined(const Sizes& sizes, double tolerance) {
    const auto [classes, rows, dim] = sizes;
    std::normal_distribution<float> normal;
    std::uniform_int_distribution<int64_t> of_class(0, classes - 1);
    std::vector<Mean> mean(size(classes * dim));
    std::vector<int64_t> count(size(classes));
    std::vector<Feature> features(size(rows * dim));
    std::vector<int64_t> labels(size(rows));
    for (auto& value : mean) value = normal(random_);
    for (auto& value : features) assign(value, normal(random_));
    for (auto& label : labels) label = of_class(random_);
    for (auto& number : count) number = of_class(random_) % 3;
    for (int64_t c = 0; c < classes; ++c) {  // of a class without features nothing may be left
      if (count[size(c)] == 0) mean[size(c * dim)] = std::numeric_limits<Mean>::infinity();
    }
    std::vector<double> sums(mean.size());
    auto expected_count = count;
    for (int64_t c = 0; c < classes; ++c) {
      for (int64_t d = 0; d < dim; ++d) {
        if (count[size(c)] > 0) {
          sums[size(c * dim + d)] = static_cast<double>(count[size(c)]) * mean[size(c * dim + d)];
        }
      }
    }
    for (int64_t j = 0; j < rows; ++j) {
      ++expected_count[size(labels[size(j)])];
      for (int64_t d = 0; d < dim; ++d) {
        sums[size(labels[size(j)] * dim + d)] += number(features[size(j * dim + d)]);
      }
    }
    const auto before = mean;
    const auto count_before = count;
    EXPECT_EQ((run<Mean, Feature>(problem_of(sizes, mean, count, features.data(), labels))), "");
    EXPECT_EQ(count, expected_count);
    for (int64_t c = 0; c < classes; ++c) {
      for (int64_t d = 0; d < dim; ++d) {
        const size_t at = size(c * dim + d);
        if (count[size(c)] == count_before[size(c)]) {
          ASSERT_EQ(mean[at], before[at]);
        } else {
          ASSERT_NEAR(mean[at], sums[at] / static_cast<double>(count[size(c)]), tolerance);
        }
      }
    }
  }

 private:
  static void assign(double& to, float value) { to = value; }
  template <typename T>
  static void assign(T& to, float value) {
    HostContext::assign(to, value);
  }
  static double number(double value) { return value; }
  template <typename T>
  static double number(T value) {
    return HostContext::to_float(value);
  }

  std::mt19937_64 random_{std::random_device{}()};
};

TEST_F(ClassMeanUpdateTest, IsTheMeanOfAllFeaturesSoFar) {
  expect_as_defined<float, float>({5, 40, 7}, 1e-6);
  expect_as_defined<float, float>({9, 3, 64}, 1e-6);
  expect_as_defined<float, float>({1, 100, 65}, 1e-6);
  expect_as_defined<float, Float16>({4, 33, 150}, 1e-6);
  expect_as_defined<float, BFloat16>({4, 32, 10}, 1e-6);
  expect_as_defined<double, double>({4, 31, 10}, 1e-14);
  expect_as_defined<double, float>({4, 1, 10}, 1e-14);
  expect_as_defined<float, double>({3, 0, 4}, 0);
}

TEST_F(ClassMeanUpdateTest, BadValuesAreReported) {
  const Sizes sizes{2, 2, 3};
  std::vector<float> mean(6);
  const std::vector<float> features(6, 1);
  for (const int64_t label : {-1, 2}) {
    std::vector<int64_t> count(2);
    const std::vector<int64_t> labels{0, label};
    const auto violated =
        run<float, float>(problem_of(sizes, mean, count, features.data(), labels));
    EXPECT_NE(violated.find("labels"), std::string::npos);
  }
  std::vector<int64_t> count{0, -1};
  const std::vector<int64_t> labels{0, 1};
  const auto violated = run<float, float>(problem_of(sizes, mean, count, features.data(), labels));
  EXPECT_NE(violated.find("class_count"), std::string::npos);
}

}  // namespace
}  // namespace paco::cuda
