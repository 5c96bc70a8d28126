#pragma once

#include <ATen/core/Tensor.h>

#include "../macros.h"

namespace paco {

/// Writes B keys and their labels into a ring buffer of K rows (the queue of MoCo, CVPR 2020), over
/// its oldest rows. Any B is taken: it wraps around, and of more than K keys the last K stay.
///
/// - queue: [K, D], floating; written in place.
/// - queue_labels: int64 [K], or bool [K, C] where a row has any number of classes; written in
///   place.
/// - queue_state: int64 [2], write pointer and number of valid rows; written in place.
/// - keys: [B, D], floating, converted to the dtype of `queue`; no gradient is kept.
/// - labels: int64 [B], or bool [B, C].
///
/// All on one device; pointer and count stay there, so nothing waits for the device.
/// Throws c10::ValueError, naming the argument and its value, before anything is written.
PACO_API void queue_enqueue_(const at::Tensor& queue, const at::Tensor& queue_labels,
                             const at::Tensor& queue_state, const at::Tensor& keys,
                             const at::Tensor& labels);

}  // namespace paco
