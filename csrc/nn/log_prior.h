#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "../macros.h"

namespace paco {

/// log(n_c / sum n + 1e-9), float32 [C], of the class counts n: [C], any real dtype, >= 0.
/// Throws c10::ValueError for an empty, negative or all-zero count.
PACO_API at::Tensor log_prior(const at::Tensor& class_counts);

/// log(q_c / sum q), float64 [C], what a known prior q of the test set adds to logits (Bayes'
/// rule): q is [C], any real dtype, >= 0; a class that does not occur, q_c = 0, has -inf. Throws
/// c10::ValueError for another number of entries than num_classes and for entries that are no
/// probabilities.
PACO_API at::Tensor log_target_prior(const at::Tensor& target_prior, int64_t num_classes);

}  // namespace paco
