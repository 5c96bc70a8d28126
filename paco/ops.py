"""The operators of libpaco as typed Python functions.

Each is one call of ``torch.ops.paco``, where the arguments are checked: a bad one raises a
ValueError that names it and its value. They work in eager mode, under torch.compile (no graph
break), TorchScript, torch.export and autocast.

:mod:`paco.reference` has the same functions in plain torch.
"""

import torch
from torch import Tensor

__all__ = [
    "bcl_loss",
    "center_logits",
    "class_mean_update_",
    "multi_label_paco_loss",
    "paco_loss",
    "queue_enqueue_",
    "vmf_logits",
]


def paco_loss(
    features: Tensor,
    labels: Tensor,
    center_logits: Tensor | None = None,
    queue: Tensor | None = None,
    queue_labels: Tensor | None = None,
    num_valid: Tensor | None = None,
    anchor_weight: Tensor | None = None,
    num_anchors: int | None = None,
    beta: float = 1.0,
    gamma: float = 1.0,
    base_temperature: float | None = None,
    label_smoothing: float = 0.0,
    soft_targets: Tensor | None = None,
    detach_keys: bool = False,
    *,
    alpha: float,
    temperature: float,
) -> Tensor:
    r"""Parametric contrastive loss, averaged over the anchors.

    The first A rows of ``features`` are the anchors i. Pairs (i, j) run over
    every row of ``features`` and every valid row of ``queue``, except j = i. With p_ij = z_i . z_j
    / T, the positives P(i) = {j != i : y_j = y_i} and the target t_i over the classes::

        L_i  = log( sum_c exp s_ic + gamma sum_{j != i} exp p_ij )
        W_i  = beta + alpha |P(i)|
        l_i  = -(T / T_base) [ beta sum_c t_ic (s_ic - L_i) + alpha sum_{P(i)} (p_ij - L_i) ] / W_i
        loss = mean_i l_i

    (`PaCo <https://arxiv.org/abs/2107.12028>`_, eq. 5; `GPaCo <https://arxiv.org/abs/2209.12400>`_
    has every row an anchor.) ``alpha=0`` is balanced softmax or cross entropy; no
    ``center_logits`` and ``alpha=gamma=1`` is SupCon. An anchor with W_i = 0 (a SupCon anchor
    without a positive) adds 0 to the mean.

    The pairs are streamed: no [A, M + K] matrix exists, and the queue is neither copied nor read
    again by the backward pass.

    Args:
        features: z, [M, D], rows of unit length; float16, bfloat16, float32 or float64.
        labels: y, int64 [M], the class of each row, 0 <= y < C.
        center_logits: s, [A, C], from :func:`center_logits`; of the dtype of ``features`` or
            of the result.
        queue: past keys, [K, D], of the dtype of ``features``. No gradient flows to it.
        queue_labels: int64 [K], those of valid rows in the range of ``labels``; given together with
            ``queue``.
        num_valid: how many leading rows of ``queue`` are filled, an int64 tensor of one element
            on the queue's device, such as ``state[1]`` of :func:`queue_enqueue_`. All by default.
        anchor_weight: [A], a factor >= 0 for each l_i; the mean still divides by A. No gradient
            flows to it.
        num_anchors: A, 1 <= A <= M; the rows of ``center_logits`` where they are given, else all
            rows by default. Pass it where the last rows are keys without a gradient: as anchors
            they would enter the mean.
        beta: weight of the class center, >= 0.
        gamma: weight of the pairs in the denominator, >= 0.
        base_temperature: T_base, > 0; T by default.
        label_smoothing: epsilon in [0, 1): the target is 1 - epsilon for the anchor's class and
            epsilon / (C - 1) for every other.
        soft_targets: t, [A, C], float32 or float64, each row >= 0 and of sum 1: takes the place of
            the labels in the centers' term, such as for images that are mixed (Mixup, CutMix). The
            labels still decide the pairs. Not beside ``label_smoothing``; no gradient flows to it.
        detach_keys: the rows of ``features`` beyond the anchors are keys without a gradient, such
            as those of a momentum encoder: theirs is 0, and not computed.
        alpha: weight of a same-class pair, >= 0.
        temperature: T, > 0.

    Returns:
        A scalar; float64 for float64 features, else float32. The gradient flows to ``features``,
        as anchors and as contrast, and to ``center_logits``; asking for a second derivative is an
        error. A NaN or an infinity in an input gives NaN.

    Raises:
        ValueError: for a bad argument; also for a weight or temperature that float32 cannot compute
            with (below 1.2e-38 or above 1e30) unless features are float64, and for a queue in a
            loss that activation checkpointing repeats. On CUDA the values of ``labels``,
            ``num_valid`` and ``soft_targets`` are checked without a synchronisation: a bad one
            trips a device-side assertion, which the next synchronising call reports.
    """
    if not torch.jit.is_scripting() and torch.jit.is_tracing() and num_anchors is not None:
        if center_logits is None:
            raise ValueError(
                "paco_loss: torch.jit.trace would keep num_anchors as it is in this call: leave it "
                "out where all rows are anchors, or use torch.jit.script"
            )
        num_anchors = None  # the rows of center_logits, however many there will be
    return torch.ops.paco.paco_loss(
        features,
        labels,
        center_logits,
        queue,
        queue_labels,
        num_valid,
        anchor_weight,
        num_anchors,
        beta,
        gamma,
        base_temperature,
        label_smoothing,
        soft_targets,
        detach_keys,
        alpha=alpha,
        temperature=temperature,
    )


def multi_label_paco_loss(
    features: Tensor,
    labels: Tensor,
    center_logits: Tensor,
    queue: Tensor | None = None,
    queue_labels: Tensor | None = None,
    num_valid: Tensor | None = None,
    anchor_weight: Tensor | None = None,
    beta: float = 1.0,
    gamma: float = 1.0,
    base_temperature: float | None = None,
    *,
    alpha: float,
    temperature: float,
) -> Tensor:
    r"""The PaCo loss of samples that have any number of classes, averaged over the anchors.

    Rows, anchors and pairs are those of :func:`paco_loss`. y_i, [C], says which classes a row has.
    Positives weigh by the overlap of their classes, a_ij, and the target is their mean, t_i::

        a_ij = y_i . y_j / (|y_i| |y_j|)          t_i = y_i / sum_c y_ic
        L_i  = log( sum_c exp s_ic + gamma sum_{j != i} exp p_ij )
        W_i  = beta + alpha sum_{j != i} a_ij
        l_i  = (T / T_base) [ L_i - (beta sum_c t_ic s_ic + alpha sum_{j != i} a_ij p_ij) / W_i ]
        loss = mean_i l_i

    With one class a row it is :func:`paco_loss`. A row without a class is contrast to all, a
    positive of none, and adds 0 to the mean as an anchor, as does any anchor with W_i = 0.

    The pairs of L_i are streamed as in :func:`paco_loss`; the positives come from sums over
    classes, [C, D], for which the valid rows of the queue are copied.

    Args:
        features: z, [M, D], rows of unit length; float16, bfloat16, float32 or float64.
        labels: y, bool [M, C], which classes each row has.
        center_logits: s, [A, C], from :func:`center_logits`; of the dtype of ``features`` or
            of the result. The first A rows of ``features`` are the anchors.
        queue: past keys, [K, D], of the dtype of ``features``. No gradient flows to it.
        queue_labels: bool [K, C]; given together with ``queue``.
        num_valid: how many leading rows of ``queue`` are filled, an int64 tensor of one element
            on the queue's device, such as ``state[1]`` of :func:`queue_enqueue_`. All by default.
        anchor_weight: [A], a factor >= 0 for each l_i; the mean still divides by A. No gradient
            flows to it.
        beta: weight of the class centers, >= 0.
        gamma: weight of the pairs in the denominator, >= 0.
        base_temperature: T_base, > 0; T by default.
        alpha: weight of a pair of the same classes, >= 0.
        temperature: T, > 0.

    Returns:
        A scalar; float64 for float64 features, else float32. The gradient flows to ``features``,
        as anchors and as contrast, and to ``center_logits``; asking for a second derivative is an
        error. A NaN or an infinity in an input gives NaN.

    Raises:
        ValueError: for a bad argument, such as labels that are not bool; where :func:`paco_loss`
            raises one for a weight, a temperature, ``num_valid`` or a repeated queue, too.
    """
    return torch.ops.paco.multi_label_paco_loss(
        features,
        labels,
        center_logits,
        queue,
        queue_labels,
        num_valid,
        anchor_weight,
        beta,
        gamma,
        base_temperature,
        alpha=alpha,
        temperature=temperature,
    )


def bcl_loss(
    features: Tensor,
    labels: Tensor,
    prototypes: Tensor,
    queue: Tensor | None = None,
    queue_labels: Tensor | None = None,
    num_valid: Tensor | None = None,
    *,
    temperature: float,
) -> Tensor:
    r"""Balanced contrastive loss (BCL), averaged over the anchors: every row of ``features``.

    Pairs (i, j) run over every row of ``features``, every prototype and every valid row of
    ``queue``, except j = i. With p_ij = z_i . z_j / T and n_c, how many of all these have class c,
    i among them::

        D_i  = sum_{j != i} exp(p_ij) / (n_{y_j} - 1{y_j = y_i})
        l_i  = -1 / (n_{y_i} - 1) sum_{j != i, y_j = y_i} (p_ij - log D_i)
        loss = mean_i l_i

    (`BCL <https://arxiv.org/abs/2207.09052>`_, eq. 6.) Class averaging: a class weighs the same in
    the denominator, however many rows it has. Class complement: through the prototypes every class
    is in every batch. The paper has no queue; without one, or with an empty one, this is its loss.

    The pairs are streamed: no [M, M + C + K] matrix exists, and the queue is neither copied nor
    read again by the backward pass.

    Args:
        features: z, [M, D], rows of unit length, those of all views; float16, bfloat16, float32 or
            float64.
        labels: y, int64 [M], the class of each row, 0 <= y < C.
        prototypes: one row of unit length a class, [C, D], of the dtype of ``features``.
        queue: past rows, [K, D], of the dtype of ``features``. No gradient flows to it.
        queue_labels: int64 [K], those of valid rows in the range of ``labels``; given together with
            ``queue``.
        num_valid: how many leading rows of ``queue`` are filled, an int64 tensor of one element
            on the queue's device, such as ``state[1]`` of :func:`queue_enqueue_`. All by default.
        temperature: T, > 0.

    Returns:
        A scalar; float64 for float64 features, else float32. The gradient flows to ``features``,
        as anchors and as contrast, and to ``prototypes``; asking for a second derivative is an
        error. A NaN or an infinity in an input gives NaN.

    Raises:
        ValueError: for a bad argument, such as a label without a prototype; also for a temperature
            that float32 cannot compute with (below 1.2e-38 or above 1e30) unless features are
            float64, and for a queue in a loss that activation checkpointing repeats. On CUDA the
            values of ``labels`` and ``num_valid`` are checked without a synchronisation: a bad one
            trips a device-side assertion, which the next synchronising call reports.
    """
    return torch.ops.paco.bcl_loss(
        features, labels, prototypes, queue, queue_labels, num_valid, temperature=temperature
    )


def center_logits(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    log_prior: Tensor | None = None,
    center_temperature: float = 1.0,
    tau: float = 1.0,
    scale: float | None = None,
) -> Tensor:
    """Logits of the class centers: s_ic = (w_c . x_i + b_c) / T_c + tau log pi_c.

    With a ``scale`` they compare directions: s_ic = scale cos(w_c, x_i) + tau log pi_c. Published
    code divides the prior too, by its ``supt``: that is T_c = supt and tau = 1 / supt.

    Args:
        x: [A, F], the pooled features of the anchors.
        weight: [C, F], one center a class.
        bias: [C]; none beside a ``scale``.
        log_prior: float32 [C], from :func:`paco.log_prior`. It balances the softmax in training
            and is left out at inference.
        center_temperature: T_c, > 0; 1 beside a ``scale``.
        tau: weight of the log prior, >= 0.
        scale: factor of the cosine, > 0.

    Returns:
        [A, C], of the dtype that type promotion gives; a ``log_prior`` makes it float32 at least.
        Differentiable in every tensor.

    Raises:
        ValueError: for a bad argument.
    """
    return torch.ops.paco.center_logits(x, weight, bias, log_prior, center_temperature, tau, scale)


def queue_enqueue_(
    queue: Tensor, queue_labels: Tensor, queue_state: Tensor, keys: Tensor, labels: Tensor
) -> None:
    """Writes keys and their labels into a ring buffer, in place, over the oldest rows.

    Any number of keys is taken: writing wraps around, and of more than K keys the last K stay.
    Pointer and count stay on the queue's device, so the call never waits for it.

    Args:
        queue: [K, D].
        queue_labels: int64 [K], or bool [K, C] where a row has any number of classes.
        queue_state: int64 [2], the row to write next and the number of valid rows; zeros for an
            empty queue.
        keys: [B, D], converted to the queue's dtype; no gradient is kept.
        labels: int64 [B], or bool [B, C].

    Raises:
        ValueError: for a bad argument; nothing is written then.
    """
    torch.ops.paco.queue_enqueue_(queue, queue_labels, queue_state, keys, labels)


def vmf_logits(
    features: Tensor, mean_direction: Tensor, concentration: Tensor, temperature: float
) -> Tensor:
    r"""Logits of classes whose features follow von Mises-Fisher distributions on the sphere.

    A feature is compared with every feature that a class may draw, in closed form (`ProCo
    <https://arxiv.org/abs/2403.06726>`_). With nu = D / 2 - 1 and I_nu the modified Bessel function
    of the first kind::

        kappa~_ic = | kappa_c mu_c + z_i / T |
        s_ic = log I_nu(kappa~_ic) - nu log kappa~_ic - [ log I_nu(kappa_c) - nu log kappa_c ]

        d s_ic / d z_i = I_{nu+1}(kappa~) / I_nu(kappa~) / (T kappa~) (kappa_c mu_c + z_i / T)

    One product with the directions and a function of each of its numbers; one product more in the
    backward pass. How exact the numbers are is measured in ``docs/numerics.md``.

    Args:
        features: z, [A, D], of any length; D >= 2; float16, bfloat16, float32 or float64.
        mean_direction: mu, [C, D], rows of length 1, or 0 for a class that is uniform on the
            sphere, whatever its concentration; float64 for float64 features, else float32.
        concentration: kappa, [C], finite and >= 0, of the dtype of ``mean_direction``.
        temperature: T, > 0.

    Returns:
        [A, C] of the dtype of ``mean_direction``. The gradient flows to ``features`` alone; asking
        for that of another, or for a second derivative, is an error. A NaN or an infinity in a row
        of ``features`` gives NaN in its logits.

    Raises:
        ValueError: for a bad argument. On CUDA the values of ``mean_direction`` and
            ``concentration`` are checked without a synchronisation: a bad one trips a device-side
            assertion, which the next synchronising call reports.
    """
    return torch.ops.paco.vmf_logits(features, mean_direction, concentration, temperature)


def class_mean_update_(
    class_mean: Tensor, class_count: Tensor, features: Tensor, labels: Tensor
) -> None:
    """Adds features to the running means of their classes, in place.

    With k of the features in class c: m_c <- (n_c m_c + their sum) / (n_c + k) and n_c <- n_c + k.
    The mean of a class with n_c = 0 is forgotten when its first features come; a class without
    features keeps its mean. Sums are of float64 in the order of the rows, so the same inputs give
    the same bits, and the call never waits for a GPU.

    Args:
        class_mean: m, [C, D], float32 or float64.
        class_count: n, int64 [C], each >= 0.
        features: [N, D], floating; no gradient is kept.
        labels: int64 [N], each in [0, C).

    Raises:
        ValueError: for a bad argument; nothing is written then. On CUDA the values of ``labels``
            and ``class_count`` are checked by a device-side assertion.
    """
    torch.ops.paco.class_mean_update_(class_mean, class_count, features, labels)


# These names mean the operators themselves in TorchScript: a saved file holds calls of them and no
# Python function, which could not be loaded, because keyword-only arguments follow defaults.
for _function in (
    paco_loss,
    multi_label_paco_loss,
    bcl_loss,
    center_logits,
    queue_enqueue_,
    vmf_logits,
    class_mean_update_,
):
    torch.jit._builtins._register_builtin(_function, f"paco::{_function.__name__}")
