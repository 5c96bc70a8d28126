#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/SymInt.h>

#include <optional>

#include "../macros.h"

namespace paco {

/// Hyper-parameters of the PaCo loss, named as in the papers.
struct PaCoLossOptions {
  double alpha;        ///< weight of a same-class pair, >= 0
  double temperature;  ///< T, temperature of the pairs, > 0
  double beta = 1.0;   ///< weight of the class center, >= 0
  double gamma = 1.0;  ///< weight of the pairs in the denominator, >= 0
  std::optional<double> base_temperature = std::nullopt;  ///< T_base, > 0; T where absent
  double label_smoothing = 0.0;                           ///< epsilon, in [0, 1)
};

/// The PaCo loss (Cui et al., ICCV 2021, eq. 5; GPaCo: TPAMI 2023), averaged over the anchors.
///
/// The first A = num_anchors rows of `features` are the anchors i. Pairs (i, j) run over the rows
/// of `features` and the valid rows of `queue`, except j = i. With p_ij = z_i . z_j / T, the
/// positives P(i) = {j != i : y_j = y_i} and the target t_i over C classes,
///
///     L_i  = log( sum_c exp s_ic + gamma sum_{j != i} exp p_ij )
///     W_i  = beta + alpha |P(i)|
///     l_i  = -(T / T_base) [ beta sum_c t_ic (s_ic - L_i) + alpha sum_{P(i)} (p_ij - L_i) ] / W_i
///     loss = (1 / A) sum_i anchor_weight_i l_i
///
/// alpha = 0 is balanced softmax (center logits with the prior) or cross entropy (without); no
/// centers with alpha = gamma = 1 is SupCon. An anchor with W_i = 0 adds nothing.
///
/// - features: z, [M, D], rows of unit length; float16, bfloat16, float32 or float64.
/// - labels: y, int64 [M], in [0, C); any value >= 0 without centers.
/// - center_logits: s, [A, C], of the dtype of `features` or of the result; optional.
/// - queue: past keys, [K, D], of the dtype of `features`; optional.
/// - queue_labels: int64 [K], those of valid rows like `labels`; given together with `queue`.
/// - num_valid: one int64 on the device of `queue`, how many of its leading rows are valid; all of
///   them where absent.
/// - anchor_weight: [A], >= 0; no gradient flows to it; optional.
/// - num_anchors: A, 1 <= A <= M; where absent, the rows of center_logits, or else of features.
/// - soft_targets: t, [A, C], float32 or float64, rows >= 0 that sum to 1; takes the place of the
///   labels in the centers' term (they still decide the pairs); without label_smoothing; no
///   gradient flows to it; optional.
/// - detach_keys: whether the rows of `features` beyond the anchors are keys without a gradient,
///   whose part of the backward pass is then left out.
///
/// Returns a scalar, float64 for float64 features, else float32. The gradient flows to `features`,
/// as anchors and as contrast, and to `center_logits`; a second derivative is an error. A NaN or an
/// infinity in an input gives NaN.
///
/// Throws c10::ValueError, naming the argument and its value. Values that live on a GPU (labels,
/// queue_labels, num_valid, anchor_weight, soft_targets) are checked there without a
/// synchronisation: a bad one trips a device assertion, which the next synchronising call reports.
PACO_API at::Tensor paco_loss(
    const at::Tensor& features, const at::Tensor& labels,
    const std::optional<at::Tensor>& center_logits, const std::optional<at::Tensor>& queue,
    const std::optional<at::Tensor>& queue_labels, const std::optional<at::Tensor>& num_valid,
    const std::optional<at::Tensor>& anchor_weight, std::optional<c10::SymInt> num_anchors,
    const PaCoLossOptions& options, const std::optional<at::Tensor>& soft_targets = std::nullopt,
    bool detach_keys = false);

}  // namespace paco
