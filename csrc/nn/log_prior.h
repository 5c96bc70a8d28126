#pragma once

#include <ATen/core/Tensor.h>

#include "../macros.h"

namespace paco {

/// log(n_c / sum n + 1e-9), float32 [C], of the class counts n: [C], any real dtype, >= 0.
/// Throws c10::ValueError for an empty, negative or all-zero count.
PACO_API at::Tensor log_prior(const at::Tensor& class_counts);

}  // namespace paco
