#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "aligned_vector.h"
#include "rows.h"
#include "tile_kernels.h"

// The two products around a tile of exponentials: logits, then the streamed rows weighted by their
// exponentials. A tile is [streamed rows, lane rows]; lane rows are transposed once, for all tiles.
// A thread has an object of its own.
namespace paco::cpu {

// Between the rows of a tile. Not a power of two, which would map them all to a few cache lines.
inline int64_t tile_stride(int64_t lanes) {
  return (lanes + kLanes - 1) / kLanes * kLanes + kLanes;
}

// Numbers [depth, lanes] of transposed rows, the rows of zeros beyond them included.
template <typename Number>
struct Lanes {
  int64_t size;   // how many rows there are
  int64_t depth;  // numbers of a row
  AlignedVector<Number> numbers;

  Lanes(int64_t size, int64_t depth)
      : size(size), depth(depth), numbers(depth * tile_stride(size)) {}

  int64_t stride() const { return tile_stride(size); }
  // Lanes of a tile, in whole registers.
  int64_t width() const { return stride() - kLanes; }
  void set_row(int64_t row, const Number* from) {
    for (int64_t d = 0; d < depth; ++d) numbers[d * stride() + row] = from[d];
  }
  // The rows from `row` on, as many as there are pointers: whole cache lines are written.
  void set_rows(int64_t row, const std::array<const Number*, kLanes>& from) {
    for (int64_t d = 0; d < depth; ++d) {
      Number* const to = numbers.data() + d * stride() + row;
      for (int64_t r = 0; r < kLanes; ++r) to[r] = from[r][d];
    }
  }
};

// Products are in T; rows of another type are converted.
template <typename T>
class Products {
 public:
  using Number = T;

  // Lane rows [lanes, D] as logits() takes them.
  static Lanes<T> lanes(const Rows& rows) {
    Lanes<T> result(rows.size, rows.dim);
    std::vector<T> buffer;
    int64_t r = 0;
    for (; rows.type == kElementType<T> && r + kLanes <= rows.size; r += kLanes) {
      std::array<const T*, kLanes> from;
      for (int64_t k = 0; k < kLanes; ++k) from[k] = static_cast<const T*>(rows.at(r + k));
      result.set_rows(r, from);
    }
    for (; r < rows.size; ++r) result.set_row(r, row_numbers(rows, r, buffer));
    return result;
  }

  // Streamed rows [rows, D]: where they lie if they are of T and whole registers, or a copy.
  void set_rows(const Rows& rows) {
    rows_ = rows;
    if (rows.type == kElementType<T> && rows.dim % kLanes == 0) return;
    const int64_t stride = tile_stride(rows.dim);
    copy_.resize(rows.size * stride);
    for (int64_t r = 0; r < rows.size; ++r) {
      convert(copy_.data() + r * stride, kElementType<T>, rows.at(r), rows.type, rows.dim);
    }
    rows_ = {copy_.data(), kElementType<T>, rows.size, rows.dim, stride};
  }

  int64_t size() const { return rows_.size; }

  // Products times `scale`, [rows, lanes] with the stride of the lanes, to be overwritten with the
  // exponentials. Each is rounded once, here, and has the same bits whichever of its two rows is
  // streamed: maximum, exponential and backward pass see one number.
  T* logits(const Lanes<T>& lanes, T scale) {
    logits_.resize(rows_.size * lanes.stride());
    logits(logits_.data(), lanes, scale);
    return logits_.data();
  }
  void logits(T* out, const Lanes<T>& lanes, T scale) const {
    tile_kernels<T>().multiply({.out = out,
                                .out_stride = lanes.stride(),
                                .a = {row_data(), rows_.stride, 1},
                                .b = lanes.numbers.data(),
                                .b_stride = lanes.stride(),
                                .rows = rows_.size,
                                .columns = lanes.width(),
                                .depth = rows_.dim,
                                .scale = scale,
                                .accumulate = false});
  }

  // out[lanes, D] (+)= exponentials^T rows
  void weigh_rows(T* out, int64_t lanes, bool accumulate) const {
    weigh_rows(out, logits_.data(), lanes, accumulate);
  }
  void weigh_rows(T* out, const T* exponentials, int64_t lanes, bool accumulate) const {
    tile_kernels<T>().multiply({.out = out,
                                .out_stride = rows_.dim,
                                .a = {exponentials, 1, tile_stride(lanes)},
                                .b = row_data(),
                                .b_stride = rows_.stride,
                                .rows = lanes,
                                .columns = rows_.dim,
                                .depth = rows_.size,
                                .scale = 1,
                                .accumulate = accumulate});
  }

  // The same where the rows are those that lie along the lanes:
  // out[count, D] (+)= exponentials[count, rows] rows
  void weigh_lane_rows(T* out, const T* exponentials, int64_t count, bool accumulate) const {
    tile_kernels<T>().multiply({.out = out,
                                .out_stride = rows_.dim,
                                .a = {exponentials, tile_stride(rows_.size), 1},
                                .b = row_data(),
                                .b_stride = rows_.stride,
                                .rows = count,
                                .columns = rows_.dim,
                                .depth = rows_.size,
                                .scale = 1,
                                .accumulate = accumulate});
  }

 private:
  const T* row_data() const { return static_cast<const T*>(rows_.data); }

  Rows rows_{};
  AlignedVector<T> copy_;
  AlignedVector<T> logits_;
};

// bfloat16 rows by the processor's own instruction, summed in float; the exponentials are
// rounded to bfloat16 for the second product.
class BFloat16Products {
 public:
  using Number = BFloat16Pair;

  static Lanes<BFloat16Pair> lanes(const Rows& rows) {
    Lanes<BFloat16Pair> result(rows.size, (rows.dim + 1) / 2);
    std::vector<BFloat16Pair> pairs(result.depth);
    for (int64_t r = 0; r < rows.size; ++r) {
      std::memcpy(pairs.data(), rows.at(r), rows.dim * sizeof(BFloat16));
      result.set_row(r, pairs.data());
    }
    return result;
  }

  void set_rows(const Rows& rows) {
    size_ = rows.size;
    dim_ = rows.dim;
    // Neighbours of a row as one number; the last of an odd number has a zero beside it.
    pairs_.resize(size_ * pair_stride());
    for (int64_t r = 0; r < size_; ++r) {
      BFloat16Pair* const to = pairs_.data() + r * pair_stride();
      if (dim_ % 2 != 0) to[dim_ / 2] = 0;
      std::memcpy(to, rows.at(r), dim_ * sizeof(BFloat16));
    }
    row_pairs_.resize((size_ + 1) / 2 * tile_stride(dim_));
    bfloat16_pair_kernels()->pair_rows(row_pairs_.data(), tile_stride(dim_),
                                       static_cast<const uint16_t*>(rows.data), rows.stride, size_,
                                       dim_);
  }

  float* logits(const Lanes<BFloat16Pair>& lanes, float scale) {
    logits_.resize(size_ * lanes.stride());
    bfloat16_pair_kernels()->multiply({.out = logits_.data(),
                                       .out_stride = lanes.stride(),
                                       .a = {pairs_.data(), pair_stride(), 1},
                                       .b = lanes.numbers.data(),
                                       .b_stride = lanes.stride(),
                                       .rows = size_,
                                       .columns = lanes.width(),
                                       .depth = lanes.depth,
                                       .scale = scale,
                                       .accumulate = false});
    return logits_.data();
  }

  void weigh_rows(float* out, int64_t lanes, bool accumulate) {
    const int64_t stride = tile_stride(lanes);
    weights_.resize((size_ + 1) / 2 * stride);
    bfloat16_pair_kernels()->round_and_pair_rows(weights_.data(), stride, logits_.data(), stride,
                                                 size_, stride - kLanes);
    bfloat16_pair_kernels()->multiply({.out = out,
                                       .out_stride = dim_,
                                       .a = {weights_.data(), 1, stride},
                                       .b = row_pairs_.data(),
                                       .b_stride = tile_stride(dim_),
                                       .rows = lanes,
                                       .columns = dim_,
                                       .depth = (size_ + 1) / 2,
                                       .scale = 1,
                                       .accumulate = accumulate});
  }

 private:
  int64_t pair_stride() const { return (dim_ + 1) / 2; }

  int64_t size_ = 0;
  int64_t dim_ = 0;
  std::vector<BFloat16Pair> pairs_;        // [size, ceil(D / 2)], along D
  AlignedVector<BFloat16Pair> row_pairs_;  // [ceil(size / 2), D], along the rows
  AlignedVector<float> logits_;
  std::vector<BFloat16Pair> weights_;
};

// Calls function.operator()<Products>() with the way in which rows of a type are multiplied.
template <typename T, typename Function>
void dispatch_products(ElementType rows, const Function& function) {
  if constexpr (std::is_same_v<T, float>) {
    if (rows == ElementType::kBFloat16 && bfloat16_pair_kernels() != nullptr) {
      return function.template operator()<BFloat16Products>();
    }
  }
  function.template operator()<Products<T>>();
}

}  // namespace paco::cpu
