#pragma once

#include <cstdint>

#include "../../platform.h"

namespace paco::cuda {

// Four numbers that move as one.
struct alignas(16) Float4 {
  float value[4];
};

// Rows of features in shared memory: kDim numbers each, zeros beyond the dimension of the problem,
// and 16 bytes of padding. With it the rows start in different banks, so the eight rows that
// ldmatrix, or eight lanes, read at once never meet in one.
template <typename Element, int kDim>
struct TileLayout {
  static constexpr int kUnit = 16 / sizeof(Element);  // numbers in 16 bytes
  static constexpr int kUnitsPerRow = kDim / kUnit;
  static constexpr int kStride = kDim + kUnit;

  static constexpr int bytes(int rows) {
    return rows * kStride * static_cast<int>(sizeof(Element));
  }
};

// A row-major matrix [num_rows, dim] in global memory.
template <typename Element>
struct Rows {
  const Element* data;
  int64_t num_rows;
  int dim;

  PACO_HOST_DEVICE const Element* row(int64_t index) const { return data + index * dim; }
  // Whether every row starts at a multiple of 16 bytes, as asynchronous copies want it.
  PACO_HOST_DEVICE bool aligned() const {
    return dim % static_cast<int>(16 / sizeof(Element)) == 0 &&
           reinterpret_cast<uintptr_t>(data) % 16 == 0;
  }
};

// Starts to fill a tile with kRows rows from `first` on; rows past the end are zeros. What a thread
// copies, it alone may touch (after a wait) before the next barrier.
template <int kDim, int kRows, typename Context, typename Element>
PACO_DEVICE void load_tile(Context& context, Element* tile, const Rows<Element>& rows,
                           int64_t first) {
  using Layout = TileLayout<Element, kDim>;
  const bool aligned = rows.aligned();
  PACO_UNROLL_BY_4
  for (int unit = context.thread(); unit < kRows * Layout::kUnitsPerRow;
       unit += context.num_threads()) {
    const int tile_row = unit / Layout::kUnitsPerRow;
    const int begin = unit % Layout::kUnitsPerRow * Layout::kUnit;
    Element* const to = tile + tile_row * Layout::kStride + begin;
    const bool in_rows = first + tile_row < rows.num_rows;
    const Element* const from = rows.row(in_rows ? first + tile_row : 0) + begin;
    if (aligned) {
      const bool valid = in_rows && begin < rows.dim;
      context.copy_async(to, valid ? from : rows.data, valid);
    } else {
      for (int i = 0; i < Layout::kUnit; ++i) {
        to[i] = in_rows && begin + i < rows.dim ? from[i] : Element{};
      }
    }
  }
}

// Rounds the part of a tile that this thread copied to tf32, once, instead of every time a fragment
// of it goes to the tensor cores (which would cut bits off, and so pull every product towards 0).
template <int kDim, int kRows, typename Context>
PACO_DEVICE void round_tile_to_tf32(Context& context, float* tile) {
  using Layout = TileLayout<float, kDim>;
  PACO_UNROLL_BY_4
  for (int unit = context.thread(); unit < kRows * Layout::kUnitsPerRow;
       unit += context.num_threads()) {
    float* const at = tile + unit / Layout::kUnitsPerRow * Layout::kStride +
                      unit % Layout::kUnitsPerRow * Layout::kUnit;
    Float4 values = *reinterpret_cast<Float4*>(at);
    PACO_UNROLL
    for (float& value : values.value) value = context.bits_to_float(context.round_to_tf32(value));
    *reinterpret_cast<Float4*>(at) = values;
  }
}

}  // namespace paco::cuda
