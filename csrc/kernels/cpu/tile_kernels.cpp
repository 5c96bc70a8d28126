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
// A product keeps a block of its result in registers, kBlockRows rows of two registers, beside two
// of b and one of a. There are 32 registers with AVX-512 and NEON, 16 before.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kBlockRows = 8;
#else
constexpr int kBlockRows = 6;
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

// A register from any address, or its first `size` numbers where it is not whole.
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
void multiply_block(const MatrixProduct<T, Element>& product, int64_t row, int64_t column,
                    int64_t size) {
  constexpr int64_t kSize = Register<Element>::kSize;
  const int64_t row_stride = product.a.row_stride;
  const Element* a = product.a.data + row * row_stride;
  const Element* b = product.b + column;
  if (product.accumulate) {
    // What the sums are added to is there when they are taken.
    const T* const to = product.out + row * product.out_stride + column;
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kRegisters; ++v) {
        __builtin_prefetch(to + r * product.out_stride + v * kSize, 1);
      }
    }
  }
  Vector<T> sums[kRows][kRegisters]{};
  for (int64_t k = 0; k < product.depth; ++k) {
    Vector<Element> columns[kRegisters];
    for (int v = 0; v < kRegisters; ++v) columns[v] = load<true>(b + v * kSize, kSize);
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kRegisters; ++v) multiply_add(sums[r][v], a[r * row_stride], columns[v]);
    }
    a += product.a.column_stride;
    b += product.b_stride;
  }
  T* const out = product.out + row * product.out_stride + column;
  const int64_t out_stride = product.out_stride;
  const bool accumulate = product.accumulate;
  // Read this late it takes no register from the sums.
  const T scale = product.scale;
#pragma GCC unroll 16  // or the sums would pass through memory
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kRegisters; ++v) {
      T* const to = out + r * out_stride + v * kSize;
      store<kWhole>(to, accumulate ? load<kWhole>(to, size) + sums[r][v] : scale * sums[r][v],
                    size);
    }
  }
}

// A strip of columns as wide as a block, from `row` on.
template <int kRows, int kRegisters, bool kWhole, typename T, typename Element>
void multiply_strip(const MatrixProduct<T, Element>& product, int64_t row, int64_t column,
                    int64_t size) {
  for (; row + kRows <= product.rows; row += kRows) {
    multiply_block<kRows, kRegisters, kWhole>(product, row, column, size);
  }
  if constexpr (kRows > 1) {
    constexpr int kFewer = kRows > 4 ? 4 : kRows / 2;
    multiply_strip<kFewer, kRegisters, kWhole>(product, row, column, size);
  }
}

// Rows of b as far apart as this are on as many pages, and map to the same few cache lines. A
// strip, which reads its columns of b once for each of its blocks, then reads a copy.
constexpr int64_t kFarBytes = 1024;
constexpr int64_t kPackedDepth = 256;
constexpr int64_t kRowsAhead = 32;  // on the way into the cache while one is copied

template <typename T, typename Element>
void multiply_packed_strip(MatrixProduct<T, Element> product, int64_t column) {
  constexpr int64_t kWidth = 2 * Register<Element>::kSize;
  alignas(kRegisterBytes) Element packed[kPackedDepth * kWidth];
  const Element* const b = product.b + column;
  for (int64_t k = 0; k < product.depth; ++k) {
    const Element* const ahead = b + (k + kRowsAhead) * product.b_stride;
    __builtin_prefetch(ahead);
    __builtin_prefetch(ahead + kWidth / 2);
    __builtin_memcpy(packed + k * kWidth, b + k * product.b_stride, kWidth * sizeof(Element));
  }
  product.b = packed;
  product.b_stride = kWidth;
  product.out += column;
  multiply_strip<kBlockRows, 2, true>(product, 0, 0, Register<Element>::kSize);
}

template <typename T, typename Element = T>
void multiply(const MatrixProduct<T, Element>& product) {
  constexpr int64_t kSize = Register<Element>::kSize;
  const bool packed = product.b_stride * static_cast<int64_t>(sizeof(Element)) >= kFarBytes &&
                      product.depth <= kPackedDepth && product.rows >= 8 * kBlockRows;
  int64_t c = 0;
  for (; c + 2 * kSize <= product.columns; c += 2 * kSize) {
    packed ? multiply_packed_strip(product, c)
           : multiply_strip<kBlockRows, 2, true>(product, 0, c, kSize);
  }
  if (c + kSize <= product.columns) {
    multiply_strip<kBlockRows, 1, true>(product, 0, c, kSize);
    c += kSize;
  }
  if (c < product.columns) multiply_strip<kBlockRows, 1, false>(product, 0, c, product.columns - c);
}

template <typename T>
void lane_softmax(T* x, int64_t stride, int64_t rows, int64_t lanes, T* maximum, T* sum) {
  for (int64_t first = 0; first < lanes; first += kLanes) {
    T largest[kLanes];
    __builtin_memcpy(largest, maximum + first, sizeof(largest));
    for (int64_t r = 0; r < rows; ++r) {
      const T* const row = x + r * stride + first;
#pragma omp simd
      for (int64_t i = 0; i < kLanes; ++i) largest[i] = row[i] > largest[i] ? row[i] : largest[i];
    }
    T sums[kLanes]{};
    for (int64_t r = 0; r < rows; ++r) {
      T* const row = x + r * stride + first;
#pragma omp simd
      for (int64_t i = 0; i < kLanes; ++i) {
        row[i] = exponential(row[i] - largest[i]);
        sums[i] += row[i];
      }
    }
    __builtin_memcpy(maximum + first, largest, sizeof(largest));
    __builtin_memcpy(sum + first, sums, sizeof(sums));
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

template <typename T>
void lane_scale(T* x, int64_t stride, int64_t rows, int64_t lanes, const T* factors) {
  for (int64_t r = 0; r < rows; ++r) {
    T* const row = x + r * stride;
#pragma omp simd
    for (int64_t i = 0; i < lanes; ++i) row[i] *= factors[i];
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
   .lane_softmax = lane_softmax<T>, \
   .lane_weigh = lane_weigh<T>,     \
   .lane_scale = lane_scale<T>}
extern const TileKernels<float> float_tile_kernels = PACO_TILE_KERNELS(float);
extern const TileKernels<double> double_tile_kernels = PACO_TILE_KERNELS(double);

#if defined(__AVX512BF16__)
extern const BFloat16PairKernels* const pair_kernels = &all_pair_kernels;
#else
extern const BFloat16PairKernels* const pair_kernels = nullptr;
#endif

}  // namespace paco::cpu::PACO_CPU_CAPABILITY
