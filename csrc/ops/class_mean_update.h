#pragma once

#include <ATen/core/Tensor.h>

#include "../macros.h"

namespace paco {

/// Adds N features to the running means of their classes: with k of them in class c,
///
///     m_c <- (n_c m_c + sum of its features) / (n_c + k),   n_c <- n_c + k
///
/// The mean of a class with n_c = 0 is forgotten when its first features come; a class without any
/// among the N keeps its mean. Sums are of float64, in the order of the rows, so equal inputs give
/// equal bits.
///
/// - class_mean: m, [C, D], float32 or float64; written in place.
/// - class_count: n, int64 [C], >= 0; written in place.
/// - features: [N, D], floating; no gradient is kept.
/// - labels: int64 [N], in [0, C).
///
/// All on one device; nothing waits for it. Throws c10::ValueError, naming the argument and its
/// value, before anything is written; on a GPU the values of labels and class_count are checked
/// there without a synchronisation.
PACO_API void class_mean_update_(const at::Tensor& class_mean, const at::Tensor& class_count,
                                 const at::Tensor& features, const at::Tensor& labels);

}  // namespace paco
