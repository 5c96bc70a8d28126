#include <gtest/gtest.h>
#include <paco/kernels/cuda/device/warp_products.h>

#include <cmath>
#include <random>
#include <vector>

#include "host_context.h"

namespace paco::cuda {
namespace {

template <typename Element>
Element nearest(float value) {
  Element element;
  HostContext::assign(element, value);
  return element;
}

// An operand as the product sees it.
template <typename Product>
double seen(typename Product::Element value) {
  const float number = HostContext::to_float(value);
  if constexpr (std::is_same_v<Product, Tf32Product>) {
    return std::bit_cast<float>(HostContext::round_to_tf32(number));
  } else {
    return number;
  }
}

template <typename ProductType>
class WarpProductsTest : public ::testing::Test {
 protected:
  using Product = ProductType;
  using Element = typename Product::Element;

  // Both products of one warp, from tiles that are filled as the kernels fill them.
  template <int kDim>
  void expect_exact(int dim, int64_t num_columns) {
    SCOPED_TRACE("dim " + std::to_string(dim) + " of " + std::to_string(kDim));
    constexpr int kColumns = Product::kColumns;
    constexpr size_t kColumnCount = kColumns;
    using Layout = TileLayout<Element, kDim>;
    std::mt19937_64 random{std::random_device{}()};
    std::normal_distribution<float> normal;
    const auto draw = [&](int64_t rows) {
      std::vector<Element> values(static_cast<size_t>(rows * dim));
      for (auto& value : values) value = nearest<Element>(normal(random));
      return values;
    };
    const auto anchors = draw(kWarpRows);
    const auto columns = draw(num_columns);
    std::vector<float> weights(static_cast<size_t>(kWarpRows) * kColumnCount);
    for (float& weight : weights) weight = normal(random);
    std::vector<float> pairs(weights.size());
    std::vector<float> values(static_cast<size_t>(kWarpRows * kDim));

    const int shared_bytes = Layout::bytes(kWarpRows) + Layout::bytes(kColumns);
    const LaunchReport report = launch_on_host({}, 32, shared_bytes, [&](HostContext& context) {
      auto* const anchor_tile = reinterpret_cast<Element*>(context.shared_memory());
      auto* const column_tile = anchor_tile + kWarpRows * Layout::kStride;
      load_tile<kDim, kWarpRows>(context, anchor_tile,
                                 Rows<Element>{anchors.data(), kWarpRows, dim}, 0);
      load_tile<kDim, kColumns>(context, column_tile,
                                Rows<Element>{columns.data(), num_columns, dim}, 0);
      context.commit_copies();
      context.wait_copies<0>();
      Product::template settle_tile<kDim, kWarpRows>(context, anchor_tile);
      Product::template settle_tile<kDim, kColumns>(context, column_tile);
      context.sync();

      float pair_slots[2][slots(kColumns)] = {};
      Product::template multiply_pairs<kDim>(context, anchor_tile, column_tile, pair_slots);
      float weight_slots[2][slots(kColumns)];
      float value_slots[2][slots(kDim)] = {};
      for (int r = 0; r < 2; ++r) {
        const auto row = static_cast<size_t>(context.lane() / 4 + 8 * r);
        for (int slot = 0; slot < slots(kColumns); ++slot) {
          const auto column = static_cast<size_t>(Product::pair_column(slot, context.lane()));
          pairs[row * kColumnCount + column] = pair_slots[r][slot];
          weight_slots[r][slot] = weights[row * kColumnCount + column];
        }
      }
      Product::template multiply_values<kDim>(context, weight_slots, column_tile, value_slots);
      for (int r = 0; r < 2; ++r) {
        const auto row = static_cast<size_t>(context.lane() / 4 + 8 * r);
        for (int slot = 0; slot < slots(kDim); ++slot) {
          const auto feature = static_cast<size_t>(Product::value_column(slot, context.lane()));
          values[row * kDim + feature] = value_slots[r][slot];
        }
      }
    });
    EXPECT_EQ(report.violated_check, "");
    EXPECT_EQ(report.bank_conflicts, 0);

    const auto at = [&](const auto& rows, int64_t row, int d) {
      return d < dim && row < static_cast<int64_t>(rows.size()) / dim
                 ? seen<Product>(rows[static_cast<size_t>(row * dim + d)])
                 : 0.0;
    };
    for (int row = 0; row < kWarpRows; ++row) {
      for (int column = 0; column < kColumns; ++column) {
        double expected = 0;
        for (int d = 0; d < dim; ++d) expected += at(anchors, row, d) * at(columns, column, d);
        const auto place = static_cast<size_t>(row * kColumns + column);
        ASSERT_NEAR(pairs[place], expected, 1e-5 * std::sqrt(kDim)) << row << ", " << column;
      }
      for (int d = 0; d < kDim; ++d) {
        double expected = 0;
        for (int column = 0; column < kColumns; ++column) {
          const float weight = weights[static_cast<size_t>(row * kColumns + column)];
          expected += seen<Product>(nearest<Element>(weight)) * at(columns, column, d);
        }
        const auto place = static_cast<size_t>(row * kDim + d);
        ASSERT_NEAR(values[place], expected, 1e-4) << row << ", " << d;
      }
    }
  }
};

using Products =
    ::testing::Types<FloatProduct, Tf32Product, HalfProduct<Float16>, HalfProduct<BFloat16>>;
TYPED_TEST_SUITE(WarpProductsTest, Products);

TYPED_TEST(WarpProductsTest, FullTiles) {
  this->template expect_exact<64>(64, TypeParam::kColumns);
  this->template expect_exact<128>(128, TypeParam::kColumns);
  this->template expect_exact<256>(256, TypeParam::kColumns);
}

TYPED_TEST(WarpProductsTest, TilesWithTails) {
  this->template expect_exact<64>(40, TypeParam::kColumns - 3);
  this->template expect_exact<64>(1, 1);
  this->template expect_exact<128>(127, 30);
}

}  // namespace
}  // namespace paco::cuda
