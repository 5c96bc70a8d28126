// Compiled once for each instruction set (cmake/CpuCapabilities.cmake). Nothing here may define an
// inline function outside the capability's namespace.

#include "tile_kernels.h"

#include "bfloat16.h"
#include "exponential.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace paco::cpu::PACO_CPU_CAPABILITY {
namespace {

#if defined(__AVX512F__)
constexpr int64_t kRegisterBytes = 64;
#elif defined(__AVX2__)
constexpr int64_t kRegisterBytes = 32;
#else
constexpr int64_t kRegisterBytes = 16;
#endif
// A product keeps a block of its result in registers, kBlockRows rows of two registers. There are
// 32 registers with AVX-512 and NEON, 16 before.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kBlockRows = 8;
#else
constexpr int kBlockRows = 4;
#endif

template <typename T>
struct Register {
  typedef T type __attribute__((vector_size(kRegisterBytes)));
  static constexpr int64_t kSize = kRegisterBytes / sizeof(T);
};
template <typename T>
using Vector = typename Register<T>::type;

template <typename T>
void multiply_add(Vector<T>& sum, T a, const Vector<T>& b) {
  sum += a * b;
}

#if defined(__AVX512BF16__)
void multiply_add(Vector<float>& sum, BFloat16Pair a, const Vector<BFloat16Pair>& b) {
  sum = _mm512_dpbf16_ps(sum, __builtin_bit_cast(__m512bh, _mm512_set1_epi32(static_cast<int>(a))),
                         __builtin_bit_cast(__m512bh, b));
}
#endif

// A register from any address; where it is not whole, its first `size` numbers.
template <bool kWhole, typename T>
Vector<T> load(const T* from, int64_t size) {
  Vector<T> result{};
  __builtin_memcpy(&result, from, kWhole ? sizeof(result) : size * sizeof(T));
  return result;
}

template <bool kWhole, typename T>
void store(T* to, const Vector<T>& numbers, int64_t size) {
  __builtin_memcpy(to, &numbers, kWhole ? sizeof(numbers) : size * sizeof(T));
}

// kRows rows and kRegisters registers of columns of a product; of the last register, `size`
// columns.
template <int kRows, int kRegisters, bool kWhole, typename T, typename Element>
void multiply_block(T* out, int64_t out_stride, Strided<Element> a, const Element* b,
                    int64_t b_stride, int64_t depth, int64_t size, T scale, bool accumulate) {
  constexpr int64_t kSize = Register<Element>::kSize;
  static_assert(kWhole || kRegisters == 1);
  Vector<T> sums[kRows][kRegisters]{};
  for (int64_t k = 0; k < depth; ++k) {
    Vector<Element> columns[kRegisters];
    const Element* const row = b + k * b_stride;
    for (int v = 0; v < kRegisters; ++v) {
      columns[v] = load<kWhole>(row + v * kSize, size);
    }
    const Element* const factors = a.data + k * a.column_stride;
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kRegisters; ++v) {
        multiply_add(sums[r][v], factors[r * a.row_stride], columns[v]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kRegisters; ++v) {
      T* const to = out + r * out_stride + v * kSize;
      store<kWhole>(to, accumulate ? load<kWhole>(to, size) + sums[r][v] : scale * sums[r][v],
                    size);
    }
  }
}

// A strip of columns as wide as a block.
template <int kRows, int kRegisters, bool kWhole, typename T, typename Element>
void multiply_strip(T* out, int64_t out_stride, Strided<Element> a, const Element* b,
                    int64_t b_stride, int64_t rows, int64_t depth, int64_t size, T scale,
                    bool accumulate) {
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    multiply_block<kRows, kRegisters, kWhole>(
        out + r * out_stride, out_stride,
        Strided<Element>{a.data + r * a.row_stride, a.row_stride, a.column_stride}, b, b_stride,
        depth, size, scale, accumulate);
  }
  if constexpr (kRows > 1) {
    multiply_strip<kRows / 2, kRegisters, kWhole>(
        out + r * out_stride, out_stride,
        Strided<Element>{a.data + r * a.row_stride, a.row_stride, a.column_stride}, b, b_stride,
        rows - r, depth, size, scale, accumulate);
  }
}

template <typename T, typename Element = T>
void multiply(T* out, int64_t out_stride, Strided<Element> a, const Element* b, int64_t b_stride,
              int64_t rows, int64_t columns, int64_t depth, T scale, bool accumulate) {
  constexpr int64_t kSize = Register<Element>::kSize;
  int64_t c = 0;
  for (; c + 2 * kSize <= columns; c += 2 * kSize) {
    multiply_strip<kBlockRows, 2, true>(out + c, out_stride, a, b + c, b_stride, rows, depth, kSize,
                                        scale, accumulate);
  }
  if (c + kSize <= columns) {
    multiply_strip<kBlockRows, 1, true>(out + c, out_stride, a, b + c, b_stride, rows, depth, kSize,
                                        scale, accumulate);
    c += kSize;
  }
  if (c < columns) {
    multiply_strip<kBlockRows, 1, false>(out + c, out_stride, a, b + c, b_stride, rows, depth,
                                         columns - c, scale, accumulate);
  }
}

template <typename T>
void lane_maximum(T* maximum, const T* x, int64_t stride, int64_t rows, int64_t lanes) {
  for (int64_t first = 0; first < lanes; first += kLanes) {
    T largest[kLanes];
    __builtin_memcpy(largest, x + first, sizeof(largest));
    for (int64_t r = 1; r < rows; ++r) {
      const T* const row = x + r * stride + first;
#pragma omp simd
      for (int64_t i = 0; i < kLanes; ++i) largest[i] = row[i] > largest[i] ? row[i] : largest[i];
    }
    for (int64_t i = 0; i < kLanes; ++i) {
      maximum[first + i] = largest[i] > maximum[first + i] ? largest[i] : maximum[first + i];
    }
  }
}

template <typename T>
void lane_exp(T* x, int64_t stride, int64_t rows, int64_t lanes, const T* shift, T* sum) {
  __builtin_memset(sum, 0, lanes * sizeof(T));
  for (int64_t r = 0; r < rows; ++r) {
    T* const row = x + r * stride;
#pragma omp simd
    for (int64_t i = 0; i < lanes; ++i) {
      row[i] = exponential(row[i] - shift[i]);
      sum[i] += row[i];
    }
  }
}

template <typename T>
void lane_weigh(T* x, int64_t stride, int64_t rows, int64_t lanes, const RowFactor<T>* factors,
                const int32_t* lane_labels, T* sum) {
  __builtin_memset(sum, 0, lanes * sizeof(T));
  for (int64_t r = 0; r < rows; ++r) {
    T* const row = x + r * stride;
    const RowFactor<T> factor = factors[r];
#pragma omp simd
    for (int64_t i = 0; i < lanes; ++i) {
      row[i] *= lane_labels[i] == factor.label ? factor.own : factor.other;
      sum[i] += row[i];
    }
  }
}

#if defined(__AVX512BF16__)
template <typename T, typename ToBits>
void pair(BFloat16Pair* out, int64_t out_stride, const T* x, int64_t stride, int64_t rows,
          int64_t columns, const ToBits& bits) {
  for (int64_t r = 0; r < rows; r += 2) {
    const T* const first = x + r * stride;
    BFloat16Pair* const to = out + r / 2 * out_stride;
    if (r + 1 < rows) {  // NOLINT(bugprone-branch-clone): the loops differ
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) to[c] = bits(first[c]) | bits(first[c + stride]) << 16;
    } else {
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) to[c] = bits(first[c]);
    }
  }
}

void pair_rows(BFloat16Pair* out, int64_t out_stride, const uint16_t* x, int64_t stride,
               int64_t rows, int64_t columns) {
  pair(out, out_stride, x, stride, rows, columns, [](uint16_t number) { return uint32_t{number}; });
}

void round_and_pair_rows(BFloat16Pair* out, int64_t out_stride, const float* x, int64_t stride,
                         int64_t rows, int64_t columns) {
  pair(out, out_stride, x, stride, rows, columns,
       [](float number) { return bfloat16_bits(number); });
}

constexpr BFloat16PairKernels all_pair_kernels{
    .multiply = multiply<float, BFloat16Pair>,
    .pair_rows = pair_rows,
    .round_and_pair_rows = round_and_pair_rows,
};
#endif

}  // namespace

#define PACO_TILE_KERNELS(T)        \
  {.multiply = multiply<T>,         \
   .lane_maximum = lane_maximum<T>, \
   .lane_exp = lane_exp<T>,         \
   .lane_weigh = lane_weigh<T>}
extern const TileKernels<float> float_tile_kernels = PACO_TILE_KERNELS(float);
extern const TileKernels<double> double_tile_kernels = PACO_TILE_KERNELS(double);

#if defined(__AVX512BF16__)
extern const BFloat16PairKernels* const pair_kernels = &all_pair_kernels;
#else
extern const BFloat16PairKernels* const pair_kernels = nullptr;
#endif

}  // namespace paco::cpu::PACO_CPU_CAPABILITY
