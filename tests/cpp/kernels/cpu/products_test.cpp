#include "kernels/cpu/products.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "random.h"

namespace paco::testing {
namespace {

/// Every logit of x with y, each row of x streamed.
template <typename T, typename Products>
std::vector<T> logits(const cpu::Rows& x, const cpu::Rows& y, T scale) {
  Products products;
  products.set_rows(x);
  const auto lanes = Products::lanes(y);
  const T* const tile = products.logits(lanes, scale);
  std::vector<T> result;
  for (int64_t i = 0; i < x.size; ++i) {
    result.insert(result.end(), tile + i * lanes.stride(), tile + i * lanes.stride() + y.size);
  }
  return result;
}

/// The forward pass streams the columns, the backward pass the anchors: one logit has to be one
/// number in both, or exp(p - L) is anything where logits are large.
template <typename T>
void expect_same_logits(ElementType type, Random& random) {
  const int64_t dim = random.integer(1, 300);
  const auto draw = [&](std::vector<char>& bytes) {
    const int64_t size = random.integer(1, 150);
    const std::vector<double> numbers = random.normal(size * dim);
    bytes.resize(size * dim * element_bytes(type));
    cpu::convert(bytes.data(), type, numbers.data(), ElementType::kFloat64, size * dim);
    return cpu::Rows{bytes.data(), type, size, dim, dim};
  };
  std::vector<char> x_bytes;
  std::vector<char> y_bytes;
  const cpu::Rows x = draw(x_bytes);
  const cpu::Rows y = draw(y_bytes);
  const T scale = static_cast<T>(1 / random.real(0.01, 1));
  cpu::dispatch_products<T>(type, [&]<typename Products>() {
    const auto there = logits<T, Products>(x, y, scale);
    const auto back = logits<T, Products>(y, x, scale);
    const auto plain = logits<T, Products>(x, y, 1);
    for (int64_t i = 0; i < x.size; ++i) {
      for (int64_t j = 0; j < y.size; ++j) {
        const T logit = there[i * y.size + j];
        ASSERT_EQ(logit, back[j * x.size + i]) << i << ' ' << j;
        ASSERT_EQ(logit, scale * plain[i * y.size + j]) << i << ' ' << j;
      }
    }
  });
}

TEST(Products, LogitsHaveTheSameBitsWhicheverRowIsStreamed) {
  for (int repetition = 0; repetition < 20; ++repetition) {
    const uint64_t seed = fresh_seed();
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(seed);
    expect_same_logits<double>(ElementType::kFloat64, random);
    expect_same_logits<float>(ElementType::kFloat32, random);
    expect_same_logits<float>(ElementType::kFloat16, random);
    expect_same_logits<float>(ElementType::kBFloat16, random);
  }
}

}  // namespace
}  // namespace paco::testing
