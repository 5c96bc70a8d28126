#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "../macros.h"

namespace paco {

/// Logits of the class centers, s_ic = (w_c . x_i + b_c + log pi_c) / supt (PaCo, ICCV 2021, sec.
/// 3).
///
/// - x: [A, F], floating.
/// - weight: [C, F], one center a class; of the dtype of x.
/// - bias: [C], of the dtype of x; optional.
/// - log_prior: log of the class prior, float32 [C] (see log_prior); absent at inference.
/// - supt: temperature of the centers, > 0.
/// - cosine: scale the rows of x and weight to unit length first.
///
/// Returns [A, C] of the dtype that type promotion gives: with a log_prior float32 at least, so
/// that the prior is never rounded. Differentiable in every tensor. Throws c10::ValueError, naming
/// the argument and its value.
PACO_API at::Tensor center_logits(const at::Tensor& x, const at::Tensor& weight,
                                  const std::optional<at::Tensor>& bias = std::nullopt,
                                  const std::optional<at::Tensor>& log_prior = std::nullopt,
                                  double supt = 1.0, bool cosine = false);

/// log(n_c / sum n + 1e-9), float32 [C], of the class counts n: [C], any real dtype, >= 0.
/// Throws c10::ValueError for an empty, negative or all-zero count.
PACO_API at::Tensor log_prior(const at::Tensor& class_counts);

}  // namespace paco
