#pragma once

#include <ATen/core/Tensor.h>

#include "../macros.h"

namespace paco {

// Writes B keys and their labels into a ring buffer of K rows (the queue of
// MoCo, CVPR 2020), oldest rows first. Any B is taken: it wraps around, and of
// more than K keys the last K stay.
//
//   queue         [K, D]  floating, written in place
//   queue_labels  [K]     int64, written in place
//   queue_state   [2]     int64: write pointer, number of valid rows; written
//   in place keys          [B, D]  floating, converted to the dtype of `queue`;
//   never keeps a gradient labels        [B]     int64
//
// All on one device; pointer and count stay there, so nothing waits for the
// device. Throws c10::ValueError, naming the argument and its value, before
// anything is written.
PACO_API void queue_enqueue_(const at::Tensor& queue, const at::Tensor& queue_labels,
                             const at::Tensor& queue_state, const at::Tensor& keys,
                             const at::Tensor& labels);

}  // namespace paco
