#pragma once

#include <cstdint>
#include <type_traits>

#include "../../element.h"
#include "../../platform.h"
#include "tile.h"

// The two matrix products of the loss, for one warp:
//
//   pairs  [16, kColumns] = rows of 16 anchors . rows of kColumns columns, over the kDim features
//   values [16, kDim]    += weights [16, kColumns] . rows of kColumns columns
//
// Operands come from tiles in shared memory, results and weights stay in registers. All products
// share one distribution over the 32 lanes: a lane holds places of two rows, `lane / 4` and 8 below
// it, and the four lanes of a quad share their two rows. Which columns a lane has of a row, its
// slots, is the product's choice:
//
//   pairs[r][slot]   row lane / 4 + 8 r, column pair_column(slot, lane)
//   values[r][slot]  row lane / 4 + 8 r, feature value_column(slot, lane)
//
// The weights take the place of the pairs, in their distribution. A product whose weights have
// little range wants those that are at most 1 times 2^kLog2WeightUnit.
namespace paco::cuda {

constexpr int kWarpRows = 16;

// Slots of a lane in a row of `columns` places: a quad shares the row.
PACO_HOST_DEVICE constexpr int slots(int columns) { return columns / 4; }

// Common part of the tensor cores' products. Accumulators lie as mma's C fragments do.
template <typename ElementType, int kTileColumns>
struct TensorCoreLayout {
  using Element = ElementType;
  static constexpr int kColumns = kTileColumns;
  static constexpr float kLog2WeightUnit = 0;

  PACO_HOST_DEVICE static int pair_column(int slot, int lane) {
    return slot / 2 * 8 + lane % 4 * 2 + slot % 2;
  }
  PACO_HOST_DEVICE static int value_column(int slot, int lane) { return pair_column(slot, lane); }

  // Fragments of 16- and 32-bit numbers look alike in units of 16 bytes: mma's k is two units.
  template <int kDim, typename Context>
  PACO_DEVICE static void multiply_pairs(Context& context, const Element* anchors,
                                         const Element* columns,
                                         float (&pairs)[2][slots(kColumns)]) {
    using Layout = TileLayout<Element, kDim>;
    const int lane = context.lane();
    // Matrices of A: rows 0-7 and 8-15 of the first unit, then of the second. Of two blocks of B,
    // whose rows are columns of the product: both units of rows 0-7, then of rows 8-15.
    const Element* const a_row = anchors + lane % 16 * Layout::kStride + lane / 16 * Layout::kUnit;
    const Element* const b_row =
        columns + (lane % 8 + lane / 16 * 8) * Layout::kStride + lane / 8 % 2 * Layout::kUnit;
    PACO_UNROLL
    for (int k = 0; k < kDim; k += 2 * Layout::kUnit) {
      uint32_t a[4];
      context.load_matrices(a_row + k, a);
      PACO_UNROLL
      for (int n = 0; n < kColumns / 16; ++n) {
        uint32_t b[4];
        context.load_matrices(b_row + n * 16 * Layout::kStride + k, b);
        context.multiply_add(Element{}, pairs[0][4 * n], pairs[0][4 * n + 1], pairs[1][4 * n],
                             pairs[1][4 * n + 1], a, b[0], b[1]);
        context.multiply_add(Element{}, pairs[0][4 * n + 2], pairs[0][4 * n + 3],
                             pairs[1][4 * n + 2], pairs[1][4 * n + 3], a, b[2], b[3]);
      }
    }
  }
};

// bfloat16 and float16. Weights are rounded to the type of the features.
template <typename ElementType>
struct HalfProduct : TensorCoreLayout<ElementType, 64> {
  using Element = ElementType;
  using TensorCoreLayout<ElementType, 64>::kColumns;
  // float16 ends at 65504 and 6e-8, and a long queue is made of small weights.
  static constexpr float kLog2WeightUnit = std::is_same_v<ElementType, Float16> ? 15 : 0;

  template <int kDim, int kRows, typename Context>
  PACO_DEVICE static void settle_tile(Context&, Element*) {}

  template <int kDim, typename Context>
  PACO_DEVICE static void multiply_values(Context& context,
                                          const float (&weights)[2][slots(kColumns)],
                                          const Element* columns, float (&values)[2][slots(kDim)]) {
    using Layout = TileLayout<Element, kDim>;
    const int lane = context.lane();
    // Matrices of B, transposed as they are read: rows 0-7 and 8-15 of the tile at the first eight
    // features, then at the next eight.
    const Element* const b_row = columns + lane % 16 * Layout::kStride + lane / 16 * Layout::kUnit;
    PACO_UNROLL
    for (int k = 0; k < kColumns / 16; ++k) {
      // A C fragment of 16 columns is an A fragment of k = 16 as it stands.
      uint32_t a[4];
      PACO_UNROLL
      for (int i = 0; i < 4; ++i) {
        a[i] = context.pack(Element{}, weights[i % 2][4 * k + i / 2 * 2],
                            weights[i % 2][4 * k + i / 2 * 2 + 1]);
      }
      PACO_UNROLL
      for (int n = 0; n < kDim / 16; ++n) {
        uint32_t b[4];
        context.load_matrices_transposed(b_row + k * 16 * Layout::kStride + n * 16, b);
        context.multiply_add(Element{}, values[0][4 * n], values[0][4 * n + 1], values[1][4 * n],
                             values[1][4 * n + 1], a, b[0], b[1]);
        context.multiply_add(Element{}, values[0][4 * n + 2], values[0][4 * n + 3],
                             values[1][4 * n + 2], values[1][4 * n + 3], a, b[2], b[3]);
      }
    }
  }
};

// float32 on the tensor cores, with the precision of tf32.
struct Tf32Product : TensorCoreLayout<float, 32> {
  template <int kDim, int kRows, typename Context>
  PACO_DEVICE static void settle_tile(Context& context, float* tile) {
    round_tile_to_tf32<kDim, kRows>(context, tile);
  }

  template <int kDim, typename Context>
  PACO_DEVICE static void multiply_values(Context& context,
                                          const float (&weights)[2][slots(kColumns)],
                                          const float* columns, float (&values)[2][slots(kDim)]) {
    using Layout = TileLayout<float, kDim>;
    const int lane = context.lane();
    PACO_UNROLL
    for (int k = 0; k < kColumns / 8; ++k) {
      // The lane has columns 2 (lane % 4) and the next of eight; mma's A fragment wants lane % 4
      // and 4 further. A sum takes its terms in any order: B's rows are swapped the same way.
      uint32_t a[4];
      PACO_UNROLL
      for (int i = 0; i < 4; ++i) a[i] = context.round_to_tf32(weights[i % 2][2 * k + i / 2]);
      const float* const b = columns + (8 * k + lane % 4 * 2) * Layout::kStride + lane / 4;
      PACO_UNROLL
      for (int n = 0; n < kDim / 8; ++n) {
        context.multiply_add(float{}, values[0][2 * n], values[0][2 * n + 1], values[1][2 * n],
                             values[1][2 * n + 1], a, context.float_bits(b[8 * n]),
                             context.float_bits(b[Layout::kStride + 8 * n]));
      }
    }
  }
};

// float32 in full precision, without tensor cores. Slots are chosen so that a lane reads four
// numbers at once and no two lanes of a quad meet in a bank.
struct FloatProduct {
  using Element = float;
  static constexpr int kColumns = 32;
  static constexpr float kLog2WeightUnit = 0;

  PACO_HOST_DEVICE static int pair_column(int slot, int lane) { return slot * 4 + lane % 4; }
  PACO_HOST_DEVICE static int value_column(int slot, int lane) {
    return slot / 4 * 16 + lane % 4 * 4 + slot % 4;
  }

  template <int kDim, int kRows, typename Context>
  PACO_DEVICE static void settle_tile(Context&, float*) {}

  template <int kDim, typename Context>
  PACO_DEVICE static void multiply_pairs(Context& context, const float* anchors,
                                         const float* columns, float (&pairs)[2][slots(kColumns)]) {
    using Layout = TileLayout<float, kDim>;
    const int lane = context.lane();
    const float* const a_row = anchors + lane / 4 * Layout::kStride;
    const float* const b_row = columns + lane % 4 * Layout::kStride;
    for (int k = 0; k < kDim; k += 4) {
      const Float4 a[2] = {load4(a_row + k), load4(a_row + 8 * Layout::kStride + k)};
      PACO_UNROLL
      for (int slot = 0; slot < slots(kColumns); ++slot) {
        const Float4 b = load4(b_row + slot * 4 * Layout::kStride + k);
        PACO_UNROLL
        for (int i = 0; i < 4; ++i) {
          pairs[0][slot] += a[0].value[i] * b.value[i];
          pairs[1][slot] += a[1].value[i] * b.value[i];
        }
      }
    }
  }

  template <int kDim, typename Context>
  PACO_DEVICE static void multiply_values(Context& context,
                                          const float (&weights)[2][slots(kColumns)],
                                          const float* columns, float (&values)[2][slots(kDim)]) {
    using Layout = TileLayout<float, kDim>;
    const int lane = context.lane();
    const float* const b_row = columns + lane % 4 * 4;
    PACO_UNROLL
    for (int slot = 0; slot < slots(kColumns); ++slot) {
      PACO_UNROLL
      for (int owner = 0; owner < 4; ++owner) {
        // The weights of one column, from the lane of the quad that has them.
        const float w0 = context.shuffle(weights[0][slot], lane / 4 * 4 + owner);
        const float w1 = context.shuffle(weights[1][slot], lane / 4 * 4 + owner);
        const float* const b = b_row + pair_column(slot, owner) * Layout::kStride;
        PACO_UNROLL
        for (int n = 0; n < kDim / 16; ++n) {
          const Float4 row = load4(b + 16 * n);
          PACO_UNROLL
          for (int i = 0; i < 4; ++i) {
            values[0][4 * n + i] += w0 * row.value[i];
            values[1][4 * n + i] += w1 * row.value[i];
          }
        }
      }
    }
  }

 private:
  PACO_DEVICE static Float4 load4(const float* address) {
    return *reinterpret_cast<const Float4*>(address);
  }
};

}  // namespace paco::cuda
