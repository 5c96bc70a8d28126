#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "../macros.h"

namespace paco {

/// Logits of the class centers (PaCo, ICCV 2021, sec. 3),
///
///     s_ic = (w_c . x_i + b_c) / center_temperature + tau log pi_c
///
/// or, with a scale, s_ic = scale cos(w_c, x_i) + tau log pi_c.
///
/// - x: [A, F], floating.
/// - weight: [C, F], one center a class; of the dtype of x.
/// - bias: [C], of the dtype of x; optional, and none with a scale.
/// - log_prior: log of the class prior, float32 [C] (paco::log_prior, in nn/log_prior.h); absent at
///   inference.
/// - center_temperature: > 0; 1 with a scale.
/// - tau: weight of the prior, >= 0.
/// - scale: of the cosine, > 0; absent for a linear classifier.
///
/// Returns [A, C] of the dtype that type promotion gives: with a log_prior float32 at least, so
/// that the prior is never rounded. Differentiable in every tensor. Throws c10::ValueError, naming
/// the argument and its value.
PACO_API at::Tensor center_logits(const at::Tensor& x, const at::Tensor& weight,
                                  const std::optional<at::Tensor>& bias = std::nullopt,
                                  const std::optional<at::Tensor>& log_prior = std::nullopt,
                                  double center_temperature = 1.0, double tau = 1.0,
                                  std::optional<double> scale = std::nullopt);

}  // namespace paco
