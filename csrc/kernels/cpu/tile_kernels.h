#pragma once

#include <cstdint>

#include "capability.h"

// Work on a tile of logits [rows, lanes]: a row for each streamed row, and along the lanes of the
// vector registers the rows that these are paired with. So maxima and sums over the streamed rows
// need no reduction within a register, and the streamed rows no transposition.
//
// Compiled once for each instruction set. This header is seen by those translation units, so it
// defines no function.
namespace paco::cpu {

// A lane count that is a multiple of this fills the registers of every instruction set.
constexpr int64_t kLanes = 16;

// Element (r, c) is data[r * row_stride + c * column_stride].
template <typename T>
struct Strided {
  const T* data;
  int64_t row_stride;
  int64_t column_stride;
};

// Factors of the numbers of a row: `own` in lanes of its class, `other` elsewhere.
template <typename T>
struct RowFactor {
  int32_t label;
  T own;
  T other;
};

// out[rows, columns] = scale * a[rows, depth] b[depth, columns], or += a b. The bits of a number
// depend on its row and column alone, and a and b may change places.
template <typename T, typename Element = T>
struct MatrixProduct {
  T* out;
  int64_t out_stride;
  Strided<Element> a;
  const Element* b;  // its rows readable up to a multiple of kLanes; fastest from 64-byte addresses
  int64_t b_stride;
  int64_t rows;
  int64_t columns;
  int64_t depth;
  T scale;
  bool accumulate;
};

template <typename T>
struct TileKernels {
  void (*multiply)(const MatrixProduct<T>& product);
  // maximum[lane] = max(maximum[lane], max over rows of x); then x = exp(x - maximum[lane]), exp()
  // as in exponential.h, and sum[lane] = sum over rows of it.
  void (*lane_softmax)(T* x, int64_t stride, int64_t rows, int64_t lanes, T* maximum, T* sum);
  // x times the factor of its row; sum[lane] = sum over rows of it
  void (*lane_weigh)(T* x, int64_t stride, int64_t rows, int64_t lanes, const RowFactor<T>* factors,
                     const int32_t* lane_labels, T* sum);
  // x times the factor of its lane
  void (*lane_scale)(T* x, int64_t stride, int64_t rows, int64_t lanes, const T* factors);
};

// The kernels of the best instruction set: see capability.h.
template <typename T>
const TileKernels<T>& tile_kernels();

// Two bfloat16 numbers, the first in the lower half: what the processor's instruction for dot
// products takes as one.
using BFloat16Pair = uint32_t;

struct BFloat16PairKernels {
  void (*multiply)(const MatrixProduct<float, BFloat16Pair>& product);
  // out[r, c] pairs rows 2r and 2r + 1 of x; the last of an odd number is paired with zeros.
  void (*pair_rows)(BFloat16Pair* out, int64_t out_stride, const uint16_t* x, int64_t stride,
                    int64_t rows, int64_t columns);
  // The same from float, rounded.
  void (*round_and_pair_rows)(BFloat16Pair* out, int64_t out_stride, const float* x, int64_t stride,
                              int64_t rows, int64_t columns);
};

// Null where the processor has no such instruction.
const BFloat16PairKernels* bfloat16_pair_kernels();

#define PACO_DECLARE_TILE_KERNELS(capability)           \
  namespace capability {                                \
  extern const TileKernels<float> float_tile_kernels;   \
  extern const TileKernels<double> double_tile_kernels; \
  extern const BFloat16PairKernels* const pair_kernels; \
  }
PACO_FOR_EACH_CPU_CAPABILITY(PACO_DECLARE_TILE_KERNELS)
#undef PACO_DECLARE_TILE_KERNELS

}  // namespace paco::cpu
