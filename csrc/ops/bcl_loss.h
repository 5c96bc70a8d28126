#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "../macros.h"

namespace paco {

/// Balanced contrastive learning (BCL; Zhu et al., CVPR 2022, eq. 6), averaged over the anchors.
///
/// Every row i of `features` is an anchor. Pairs (i, j) run over the rows of `features`, the
/// prototypes of all classes and the valid rows of `queue`, except j = i. With p_ij = z_i . z_j / T
/// and n_c, how many of all these have class c, i among them,
///
///     D_i  = sum_{j != i} exp(p_ij) / (n_{y_j} - 1{y_j = y_i})
///     l_i  = -1 / (n_{y_i} - 1) sum_{j != i, y_j = y_i} (p_ij - log D_i)
///     loss = (1 / M) sum_i l_i
///
/// Class averaging: every class weighs the same in the denominator, however many rows it has.
/// Class complement: prototypes see to it that every class is there.
///
/// - features: z, [M, D], rows of unit length; float16, bfloat16, float32 or float64.
/// - labels: y, int64 [M], in [0, C).
/// - prototypes: one row of unit length a class, [C, D], of the dtype of `features`.
/// - queue: past rows, [K, D], of the dtype of `features`; optional. The paper has none.
/// - queue_labels: int64 [K], those of valid rows in [0, C); given together with `queue`.
/// - num_valid: one int64 on the device of `queue`, how many of its leading rows are valid; all of
///   them where absent.
/// - temperature: T, > 0.
///
/// Returns a scalar, float64 for float64 features, else float32. The gradient flows to `features`,
/// as anchors and as contrast, and to `prototypes`; a second derivative is an error. A NaN or an
/// infinity in an input gives NaN.
///
/// Throws c10::ValueError, naming the argument and its value; a label without a prototype is one.
/// Values that live on a GPU are checked there without a synchronisation: a bad one trips a device
/// assertion, which the next synchronising call reports.
PACO_API at::Tensor bcl_loss(const at::Tensor& features, const at::Tensor& labels,
                             const at::Tensor& prototypes, const std::optional<at::Tensor>& queue,
                             const std::optional<at::Tensor>& queue_labels,
                             const std::optional<at::Tensor>& num_valid, double temperature);

}  // namespace paco
