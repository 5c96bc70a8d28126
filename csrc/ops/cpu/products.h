#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "tile_kernels.h"

// The two products around a tile of exponentials [rows, lanes]: streamed rows by lane rows before
// it, exponentials by streamed rows after it. Lane rows are transposed once, for all tiles. A
// thread has an object of its own.
namespace paco::cpu {

// Between the rows of a tile. Not a power of two, which would map them all to a few cache lines.
inline int64_t tile_stride(int64_t lanes) {
  return (lanes + kLanes - 1) / kLanes * kLanes + kLanes;
}

inline at::Tensor transpose_to_lanes(const at::Tensor& rows) {
  auto result = at::zeros({rows.size(1), tile_stride(rows.size(0))}, rows.options());
  result.narrow(1, 0, rows.size(0)).copy_(rows.t());
  return result;
}

// In T; rows of another dtype are converted.
template <typename T>
class Products {
 public:
  using Sum = T;

  // Lane rows [lanes, D] as logits() takes them.
  static at::Tensor lanes(const at::Tensor& rows) { return transpose_to_lanes(convert(rows)); }

  // Streamed rows [rows, D].
  void set_rows(const at::Tensor& rows) { rows_ = convert(rows); }

  // [rows, lanes] with tile_stride(lanes), to be overwritten with the exponentials.
  T* logits(const at::Tensor& lanes) {
    const int64_t stride = lanes.size(1);
    logits_.resize(rows_.size(0) * stride);
    tile_kernels<T>().multiply(logits_.data(), stride, {row_data(), rows_.stride(0), 1},
                               lanes.const_data_ptr<T>(), stride, rows_.size(0), stride - kLanes,
                               rows_.size(1), /*accumulate=*/false);
    return logits_.data();
  }

  // out[lanes, D] (+)= exponentials^T rows
  void weigh_rows(T* out, int64_t lanes, bool accumulate) {
    tile_kernels<T>().multiply(out, rows_.size(1), {logits_.data(), 1, tile_stride(lanes)},
                               row_data(), rows_.stride(0), lanes, rows_.size(1), rows_.size(0),
                               accumulate);
  }

 private:
  static at::Tensor convert(const at::Tensor& rows) {
    return rows.to(c10::CppTypeToScalarType<T>::value);
  }
  const T* row_data() const { return rows_.template const_data_ptr<T>(); }

  at::Tensor rows_;
  std::vector<T> logits_;
};

// Of bfloat16 rows by the processor's own instruction, summed in float; the exponentials are
// rounded to bfloat16 for the second product.
class BFloat16Products {
 public:
  using Sum = float;

  static at::Tensor lanes(const at::Tensor& rows) { return transpose_to_lanes(as_pairs(rows)); }

  void set_rows(const at::Tensor& rows) {
    size_ = rows.size(0);
    dim_ = rows.size(1);
    pairs_ = as_pairs(rows);
    row_pairs_.resize((size_ + 1) / 2 * dim_);
    bfloat16_pair_kernels()->pair_rows(row_pairs_.data(), dim_,
                                       static_cast<const uint16_t*>(rows.const_data_ptr()),
                                       rows.stride(0), size_, dim_);
  }

  float* logits(const at::Tensor& lanes) {
    const int64_t stride = lanes.size(1);
    logits_.resize(size_ * stride);
    bfloat16_pair_kernels()->multiply(logits_.data(), stride, {data(pairs_), pairs_.stride(0), 1},
                                      data(lanes), stride, size_, stride - kLanes, lanes.size(0),
                                      /*accumulate=*/false);
    return logits_.data();
  }

  void weigh_rows(float* out, int64_t lanes, bool accumulate) {
    const int64_t stride = tile_stride(lanes);
    weights_.resize((size_ + 1) / 2 * stride);
    bfloat16_pair_kernels()->round_and_pair_rows(weights_.data(), stride, logits_.data(), stride,
                                                 size_, stride - kLanes);
    bfloat16_pair_kernels()->multiply(out, dim_, {weights_.data(), 1, stride}, row_pairs_.data(),
                                      dim_, lanes, dim_, (size_ + 1) / 2, accumulate);
  }

 private:
  // Neighbours of a row as one number, [rows, ceil(D / 2)].
  static at::Tensor as_pairs(const at::Tensor& rows) {
    if (rows.size(1) % 2 != 0) return at::constant_pad_nd(rows, {0, 1}).view(at::kInt);
    const bool aligned = rows.stride(0) % 2 == 0 && rows.storage_offset() % 2 == 0;
    return (aligned ? rows : rows.clone(at::MemoryFormat::Contiguous)).view(at::kInt);
  }
  static const BFloat16Pair* data(const at::Tensor& pairs) {
    return static_cast<const BFloat16Pair*>(pairs.const_data_ptr());
  }

  int64_t size_ = 0;
  int64_t dim_ = 0;
  at::Tensor pairs_;                     // [size, ceil(D / 2)], along D
  std::vector<BFloat16Pair> row_pairs_;  // [ceil(size / 2), D], along the rows
  std::vector<float> logits_;
  std::vector<BFloat16Pair> weights_;
};

}  // namespace paco::cpu
