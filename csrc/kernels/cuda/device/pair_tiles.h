#pragma once

#include <cstdint>

#include "../../platform.h"
#include "tile.h"
#include "warp_products.h"

namespace paco::cuda {

constexpr int kPairWarps = 4;
constexpr int kPairThreads = 32 * kPairWarps;
constexpr int kPairRows = kWarpRows * kPairWarps;  // rows that a block of the pair kernels keeps
constexpr int kMaxDim = 256;                       // features that the widest tile holds

// Tiles of the pair kernels in shared memory: the rows that the block keeps, and two tiles of
// columns, one at work while the other is on its way.
template <typename Product, int kDim>
struct PairMemory {
  using Element = typename Product::Element;
  using Layout = TileLayout<Element, kDim>;
  static constexpr int kRowsBytes = Layout::bytes(kPairRows);
  static constexpr int kColumnsBytes = Layout::bytes(Product::kColumns);
  static constexpr int kBytes = kRowsBytes + 2 * kColumnsBytes;

  char* memory;

  PACO_DEVICE Element* rows() const { return reinterpret_cast<Element*>(memory); }
  PACO_DEVICE Element* columns(int64_t tile) const {
    return reinterpret_cast<Element*>(memory + kRowsBytes + tile % 2 * kColumnsBytes);
  }
};

}  // namespace paco::cuda
