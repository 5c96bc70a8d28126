#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/cpu/rows.h"
#include "random.h"

namespace paco::cpu {
namespace {

/// A number of 16 bits from its fields.
double value_of(uint16_t bits, int exponent_bits) {
  const int fraction_bits = 15 - exponent_bits;
  const int fraction = bits & ((1 << fraction_bits) - 1);
  const int exponent = bits >> fraction_bits & ((1 << exponent_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const double sign = bits >> 15 != 0 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) {
    return fraction == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
  }
  return sign * std::ldexp(exponent == 0 ? fraction : fraction + (1 << fraction_bits),
                           std::max(exponent, 1) - bias - fraction_bits);
}

struct Kind {
  ElementType type;
  int exponent_bits;
};
constexpr Kind kKinds[] = {{ElementType::kFloat16, 5}, {ElementType::kBFloat16, 8}};

TEST(Convert, EveryNumberOf16BitsIsTheFloatItStandsFor) {
  std::vector<uint16_t> all(1 << 16);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  for (const Kind kind : kKinds) {
    // Past the blocks of a vector register too.
    for (const int64_t size : {int64_t{1}, int64_t{7}, int64_t{1} << 16}) {
      std::vector<float> floats(size);
      convert(floats.data(), ElementType::kFloat32, all.data() + all.size() - size, kind.type,
              size);
      std::vector<uint16_t> back(size);
      convert(back.data(), kind.type, floats.data(), ElementType::kFloat32, size);
      for (int64_t i = 0; i < size; ++i) {
        const uint16_t bits = all[all.size() - size + i];
        const double expected = value_of(bits, kind.exponent_bits);
        if (std::isnan(expected)) {
          ASSERT_TRUE(std::isnan(floats[i])) << bits;
          ASSERT_TRUE(std::isnan(value_of(back[i], kind.exponent_bits))) << bits;
        } else {
          ASSERT_EQ(floats[i], expected) << bits;
          ASSERT_EQ(back[i], bits);
        }
      }
    }
  }
}

TEST(Convert, RoundsToTheNearestAndTiesToEven) {
  testing::Random random(testing::fresh_seed());
  for (const Kind kind : kKinds) {
    const auto largest = static_cast<uint16_t>((1 << 15) - (1 << (15 - kind.exponent_bits)) - 1);
    for (int i = 0; i < 20000; ++i) {
      // Neighbours, the middle between them, and a number to either side of it.
      const auto below = static_cast<uint16_t>(random.integer(0, largest - 1));
      const auto above = static_cast<uint16_t>(below + 1);
      const auto middle = static_cast<float>(
          (value_of(below, kind.exponent_bits) + value_of(above, kind.exponent_bits)) / 2);
      const std::vector<float> floats(9, middle);
      const std::vector<float> larger(9, std::nextafter(middle, INFINITY));
      const std::vector<float> smaller(9, std::nextafter(middle, -INFINITY));
      const auto rounded = [&](const std::vector<float>& numbers) {
        uint16_t bits[9];
        convert(bits, kind.type, numbers.data(), ElementType::kFloat32, 9);
        EXPECT_EQ(bits[0], bits[8]);  // in a vector register and by itself
        return bits[0];
      };
      ASSERT_EQ(rounded(floats), below % 2 == 0 ? below : above) << below;
      ASSERT_EQ(rounded(larger), above) << below;
      ASSERT_EQ(rounded(smaller), below) << below;
    }
  }
}

TEST(Convert, TooLargeIsInfinity) {
  for (const float x : {65520.0F, 1e30F, INFINITY}) {
    const std::vector<float> floats(9, x);
    uint16_t bits[9];
    convert(bits, ElementType::kFloat16, floats.data(), ElementType::kFloat32, 9);
    EXPECT_EQ(bits[0], 0x7c00);
    EXPECT_EQ(bits[8], 0x7c00);
  }
}

}  // namespace
}  // namespace paco::cpu
