"""The ways to compute the losses that loss.py compares, and the logits that vmf_logits.py does.

Those of the PaCo loss are called like ``paco.paco_loss``, those of BCL like ``paco.bcl_loss``,
those of ProCo's logits like ``paco.vmf_logits``.

Those of the loss cover what training uses: every row of the queue valid, no label smoothing, no
anchor weights.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

import paco

__all__ = [
    "BCL_LOSSES",
    "LOSSES",
    "VMF_LOGITS",
    "miller",
    "miller_without_branches",
    "sdpa",
    "textbook",
    "textbook_bcl",
]


def textbook(
    features: Tensor,
    labels: Tensor,
    center_logits: Tensor,
    queue: Tensor,
    queue_labels: Tensor,
    *,
    num_anchors: int,
    alpha: float,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float,
) -> Tensor:
    """The loss as it is usually written: whole [A, C + M + K] matrices, derivatives by autograd.

    Below float32, products are of the inputs' precision and all else is float32, as under autocast.
    """
    a = num_anchors
    rows = torch.cat([features, queue])
    row_labels = torch.cat([labels, queue_labels])
    dtype = torch.promote_types(features.dtype, torch.float32)

    pairs = (features[:a] @ rows.T).to(dtype) / temperature
    logits = torch.cat([center_logits.to(dtype), pairs], 1)
    logits = logits - logits.amax(1, keepdim=True).detach()

    other = 1 - torch.eye(a, rows.size(0), dtype=dtype, device=rows.device)
    positive = (labels[:a, None] == row_labels[None, :]).to(dtype) * other
    center = F.one_hot(labels[:a], center_logits.size(1)).to(dtype)
    positive_weight = torch.cat([beta * center, alpha * positive], 1)
    partition_weight = torch.cat([torch.ones_like(center), gamma * other], 1)

    partition = (logits.exp() * partition_weight).sum(1, keepdim=True)
    log_likelihood = logits - partition.log()
    return -((positive_weight * log_likelihood).sum(1) / positive_weight.sum(1)).mean()


def sdpa(
    features: Tensor,
    labels: Tensor,
    center_logits: Tensor,
    queue: Tensor,
    queue_labels: Tensor,
    *,
    num_anchors: int,
    alpha: float,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float,
) -> Tensor:
    """The loss from torch's own fused attention, and class sums in place of pairs of positives.

    As fast as torch's operators allow. The self pair is subtracted from the attention's results
    instead of masked out, which costs digits where it outweighs the other pairs (small T).
    """
    a = num_anchors
    dtype = torch.promote_types(features.dtype, torch.float32)
    y = labels[:a]
    anchors = features[:a].to(dtype)

    # sum_{P(i)} z_j and |P(i)|, from the sums and counts of all rows of a class, less row i.
    num_classes = center_logits.size(1)
    sums = torch.zeros(num_classes, features.size(1), dtype=dtype, device=features.device)
    sums = sums.index_add(0, queue_labels, queue.to(dtype)).index_add(0, labels, features.to(dtype))
    counts = torch.bincount(queue_labels, minlength=num_classes)
    counts = counts + torch.bincount(labels, minlength=num_classes)
    positive_rows = sums[y] - anchors
    positives = (counts[y] - 1).to(dtype)

    s = center_logits.to(dtype)
    pairs = PairLogSumExp.apply(features, queue, a, temperature) + math.log(gamma)
    log_partition = torch.logaddexp(s.logsumexp(1), pairs)
    weight = beta + alpha * positives
    log_likelihood = beta * s.gather(1, y[:, None]).squeeze(1)
    log_likelihood = log_likelihood + alpha / temperature * (anchors * positive_rows).sum(1)
    return -(log_likelihood / weight - log_partition).mean()


class PairLogSumExp(torch.autograd.Function):
    """log sum_{j != i} exp(z_i . z_j / T) over features [M, D] and queue [K, D], for [A] anchors.

    Attention with keys = values = rows returns log sum_j exp p_ij and sum_j softmax(p_i)_j z_j: the
    value and, as the output, the derivative by the anchor.
    """

    @staticmethod
    def forward(
        ctx, features: Tensor, queue: Tensor, num_anchors: int, temperature: float
    ) -> Tensor:
        anchors = features[:num_anchors]
        batch_rows, batch = attention(anchors, features, features, temperature)
        queue_rows, queue = attention(anchors, queue, queue, temperature)
        z = anchors.to(batch.dtype)
        pair_with_self = (z * z).sum(1) / temperature
        total = torch.logaddexp(batch, queue)
        result = total + torch.log1p(-(pair_with_self - total).exp())
        mean_row = (
            batch_rows * (batch - result).exp()[:, None]
            + queue_rows * (queue - result).exp()[:, None]
            - z * (pair_with_self - result).exp()[:, None]
        )
        ctx.save_for_backward(features, pair_with_self, result, mean_row)
        ctx.temperature = temperature
        return result

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None, None]:
        features, pair_with_self, result, mean_row = ctx.saved_tensors
        a = result.size(0)
        anchors = features[:a]
        # The rows as contrast: sum_i g_i exp(p_ij - L_i) z_i, their attention over the anchors.
        weighted = (grad * (-result).exp())[:, None] * anchors
        rows, log_sum = attention(features, anchors, weighted.to(features.dtype), ctx.temperature)
        gradient = rows * log_sum.exp()[:, None]
        gradient[:a] -= weighted * pair_with_self.exp()[:, None]
        gradient[:a] += grad[:, None] * mean_row
        return (gradient / ctx.temperature).to(features.dtype), None, None, None


def attention(
    query: Tensor, key: Tensor, value: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """The output of scaled_dot_product_attention and the log-sum-exp that its CPU kernel keeps."""
    output, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query[None, None], key[None, None], value[None, None], scale=1 / temperature
    )
    return output[0, 0].to(log_sum.dtype), log_sum[0, 0]


def textbook_bcl(
    features: Tensor, labels: Tensor, prototypes: Tensor, *, temperature: float
) -> Tensor:
    """BCL as its authors publish it: no queue, whole [M, M + C] matrices, derivatives by autograd.

    Their code collects the class count of every column in a loop of Python; here it is one lookup.
    """
    m, num_classes = features.size(0), prototypes.size(0)
    rows = torch.cat([features, prototypes])
    row_labels = torch.cat([labels, torch.arange(num_classes, device=labels.device)])
    dtype = torch.promote_types(features.dtype, torch.float32)

    logits = (features @ rows.T).to(dtype) / temperature
    logits = logits - logits.amax(1, keepdim=True).detach()
    other = 1 - torch.eye(m, rows.size(0), dtype=dtype, device=rows.device)
    positive = (labels[:, None] == row_labels[None, :]).to(dtype) * other

    # Class averaging: by the count of the column's class, less one where it is the anchor's.
    class_counts = F.one_hot(row_labels, num_classes).sum(0).to(dtype)
    averaged = logits.exp() * other / (class_counts[row_labels][None, :] - positive)
    log_likelihood = logits - averaged.sum(1, keepdim=True).log()
    return -((positive * log_likelihood).sum(1) / positive.sum(1)).mean()


def miller(
    features: Tensor, mean_direction: Tensor, concentration: Tensor, temperature: float
) -> Tensor:
    """ProCo's logits as its authors publish them: all sums of a class's kappa mu and a feature.

    They are [N, C, D] numbers. The Bessel functions of their norms come from Miller's recurrence of
    2 nu steps, in float64, each of which asks the device whether a number is infinite; D is even.
    It starts too low for norms far above nu^2 / 10, where its results are others.
    """
    directions = concentration[:, None] * mean_direction
    kappa = (directions + features[:, None] / temperature).norm(dim=2)
    nu = features.size(1) // 2 - 1
    of_class, _ = _log_bessel(nu, concentration.double(), _downward)
    return BesselRatio.apply(kappa, nu, of_class - nu * concentration.double().log(), _downward)


def miller_without_branches(
    features: Tensor, mean_direction: Tensor, concentration: Tensor, temperature: float
) -> Tensor:
    """The same as a graph that torch.compile takes whole: numbers are scaled in every step."""
    directions = concentration[:, None] * mean_direction
    kappa = (directions + features[:, None] / temperature).norm(dim=2)
    nu = features.size(1) // 2 - 1
    of_class, _ = _log_bessel(nu, concentration.double(), _downward_scaled)
    return BesselRatio.apply(
        kappa, nu, of_class - nu * concentration.double().log(), _downward_scaled
    )


class BesselRatio(torch.autograd.Function):
    """log I_nu(x) - nu log x less a constant, whose derivative is I_{nu+1}(x) / I_nu(x)."""

    @staticmethod
    def forward(ctx, x: Tensor, nu: int, constant: Tensor, downward: Callable) -> Tensor:
        value, next_value = _log_bessel(nu, x.double(), downward)
        ctx.save_for_backward((next_value - value).exp())
        return (value - nu * x.double().log() - constant).to(x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (ratio,) = ctx.saved_tensors
        return (grad * ratio.clamp(max=1)).to(grad.dtype), None, None, None


def _log_bessel(nu: int, x: Tensor, downward: Callable) -> tuple[Tensor, Tensor]:
    """log I_nu and log I_{nu+1}: from I_0, times what the recurrence multiplied its start by."""
    of_nu, of_next, of_zero = downward(nu, x)
    start = torch.special.i0e(x).log() + x - of_zero
    return start + of_nu, start + of_next


def _downward(nu: int, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logarithms of the sequence i_{n-1} = 2 n / x i_n + i_{n+1} at nu, nu + 1 and 0."""
    current, previous, scale = torch.ones_like(x), torch.zeros_like(x), torch.zeros_like(x)
    logs = {}
    for n in range(2 * nu, 0, -1):
        new = 2 * n / x * current + previous
        if new.isinf().any():
            scale = scale + current.log()
            previous = previous / current
            current = torch.ones_like(x)
            new = 2 * n / x + previous
        previous, current = current, new
        if n - 1 in (nu, nu + 1):
            logs[n - 1] = current.log() + scale
    return logs[nu], logs[nu + 1], current.log() + scale


def _downward_scaled(nu: int, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    current, previous, scale = torch.ones_like(x), torch.zeros_like(x), torch.zeros_like(x)
    logs = {}
    for n in range(2 * nu, 0, -1):
        previous, current = current, 2 * n / x * current + previous
        factor = torch.where(current > 1e250, 1e-250, 1.0)
        previous, current = previous * factor, current * factor
        scale = scale - factor.log()
        if n - 1 in (nu, nu + 1):
            logs[n - 1] = current.log() + scale
    return logs[nu], logs[nu + 1], current.log() + scale


# A compiled function is made afresh for each problem: dynamic shapes would be another contest.
LOSSES: dict[str, Callable[[], Callable[..., Tensor]]] = {
    "paco": lambda: paco.paco_loss,
    "textbook": lambda: textbook,
    "compile": lambda: torch.compile(textbook, fullgraph=True, dynamic=False),
    "sdpa": lambda: sdpa,
}

BCL_LOSSES: dict[str, Callable[[], Callable[..., Tensor]]] = {
    "paco": lambda: paco.bcl_loss,
    "textbook": lambda: textbook_bcl,
    "compile": lambda: torch.compile(textbook_bcl, fullgraph=True, dynamic=False),
}

VMF_LOGITS: dict[str, Callable[[], Callable[..., Tensor]]] = {
    "paco": lambda: paco.vmf_logits,
    "miller": lambda: miller,
    "compile": lambda: torch.compile(miller_without_branches, fullgraph=True, dynamic=False),
}
