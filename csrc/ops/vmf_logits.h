#pragma once

#include <ATen/core/Tensor.h>

#include "../macros.h"

namespace paco {

/// Logits of classes whose features follow von Mises-Fisher distributions on the sphere, for a
/// feature compared with every feature that a class may draw (Du et al., ProCo, TPAMI 2024): with
/// nu = D / 2 - 1 and I_nu the modified Bessel function of the first kind,
///
///     kappa~_ic = | kappa_c mu_c + z_i / T | = sqrt(kappa_c^2 + |z_i|^2 / T^2
///                                                   + 2 kappa_c mu_c . z_i / T)
///     s_ic = log I_nu(kappa~_ic) - nu log kappa~_ic - [ log I_nu(kappa_c) - nu log kappa_c ]
///
/// Every D from 2 on and every kappa is computed in closed form, kappa = 0 included, where the
/// bracket is its limit.
///
/// - features: z, [A, D], of any length; D >= 2; float16, bfloat16, float32 or float64.
/// - mean_direction: mu, [C, D], rows of length 1, or 0 for a class that is uniform on the sphere,
///   whatever its concentration; float64 for float64 features, else float32.
/// - concentration: kappa, [C], finite and >= 0, of the dtype of mean_direction.
/// - temperature: T, > 0.
///
/// Returns [A, C] of the dtype of mean_direction. The gradient flows to `features` alone; asking
/// for that of another, or for a second derivative, is an error. A NaN or an infinity in a row of
/// features gives NaN in its logits.
///
/// Throws c10::ValueError, naming the argument and its value. The values of mean_direction and
/// concentration on a GPU are checked there without a synchronisation: a bad one trips a device
/// assertion, which the next synchronising call reports.
PACO_API at::Tensor vmf_logits(const at::Tensor& features, const at::Tensor& mean_direction,
                               const at::Tensor& concentration, double temperature);

}  // namespace paco
