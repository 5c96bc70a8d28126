#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "../macros.h"
#include "paco_loss.h"

namespace paco {

/// The PaCo loss of samples that have any number of classes, averaged over the anchors.
///
/// Rows, anchors and pairs are those of paco_loss. y_i, [C], says which classes a row has.
/// Positives weigh by the overlap of their classes, a_ij, and the target is the mean of the
/// classes, t_i:
///
///     a_ij = y_i . y_j / (|y_i| |y_j|)          t_i = y_i / sum_c y_ic
///     L_i  = log( sum_c exp s_ic + gamma sum_{j != i} exp p_ij )
///     W_i  = beta + alpha sum_{j != i} a_ij
///     l_i  = (T / T_base) [ L_i - (beta sum_c t_ic s_ic + alpha sum_{j != i} a_ij p_ij) / W_i ]
///     loss = (1 / A) sum_i anchor_weight_i l_i
///
/// With one class a row it is paco_loss. A row without a class is contrast to all, a positive of
/// none, and adds nothing as an anchor; nor does any anchor with W_i = 0. Both count in the mean.
///
/// - features: z, [M, D], rows of unit length; float16, bfloat16, float32 or float64. The first A
///   are the anchors.
/// - labels: y, bool [M, C].
/// - center_logits: s, [A, C], of the dtype of `features` or of the result.
/// - queue: past keys, [K, D], of the dtype of `features`; optional.
/// - queue_labels: bool [K, C]; given together with `queue`.
/// - num_valid: one int64 on the device of `queue`, how many of its leading rows are valid; all of
///   them where absent.
/// - anchor_weight: [A], >= 0; no gradient flows to it; optional.
/// - options: those of paco_loss, without label_smoothing.
///
/// Returns a scalar, float64 for float64 features, else float32. The gradient flows to `features`,
/// as anchors and as contrast, and to `center_logits`; a second derivative is an error. A NaN or an
/// infinity in an input gives NaN.
///
/// The pairs of L_i are streamed as in paco_loss; the positives come from sums over classes, [C,
/// D], for which the valid rows of the queue are copied.
///
/// Throws c10::ValueError, naming the argument and its value. Values that live on a GPU (num_valid,
/// anchor_weight) are checked there without a synchronisation: a bad one trips a device assertion,
/// which the next synchronising call reports.
PACO_API at::Tensor multi_label_paco_loss(const at::Tensor& features, const at::Tensor& labels,
                                          const at::Tensor& center_logits,
                                          const std::optional<at::Tensor>& queue,
                                          const std::optional<at::Tensor>& queue_labels,
                                          const std::optional<at::Tensor>& num_valid,
                                          const std::optional<at::Tensor>& anchor_weight,
                                          const PaCoLossOptions& options);

}  // namespace paco
