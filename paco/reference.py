"""The definition of every operator in plain torch: clear, slow, and the oracle of every test.

Nothing here checks its arguments, streams or fuses; the operators do. Results are of the inputs'
precision, so pass float64 for an oracle. Derivatives come from autograd. Every function scripts:
the C++ tests load them as TorchScript.

    Cui et al., "Parametric Contrastive Learning", ICCV 2021, arXiv 2107.12028 (PaCo)
    Cui et al., "Generalized Parametric Contrastive Learning", TPAMI 2023, arXiv 2209.12400 (GPaCo)
    Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020 (no centers)
    Ren et al., "Balanced Meta-Softmax", NeurIPS 2020 (alpha = 0)
    He et al., "Momentum Contrast", CVPR 2020 (the queue)
    Zhu et al., "Balanced Contrastive Learning", CVPR 2022, arXiv 2207.09052 (BCL)
    Du et al., "Probabilistic Contrastive Learning for Long-Tailed Visual Recognition", TPAMI 2024
    (ProCo)
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "bcl_loss",
    "center_logits",
    "class_mean_update_",
    "multi_label_paco_loss",
    "paco_loss",
    "pixel_paco_loss",
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
    """The loss of :func:`paco.paco_loss`, which documents the arguments, over an [A, M + K] matrix.

    An anchor with W_i = 0 (a SupCon anchor without a positive) adds 0 to the mean and gets no
    gradient; the papers' formula is 0 / 0 there.
    """
    dtype = torch.float64 if features.dtype == torch.float64 else torch.float32
    a = num_anchors
    if a is None:
        a = features.size(0) if center_logits is None else center_logits.size(0)
    z = features.to(dtype)
    if detach_keys:
        z = torch.cat([z[:a], z[a:].detach()])
    y = labels
    inputs = [z]
    if queue is not None and queue_labels is not None:
        n = queue.size(0) if num_valid is None else int(num_valid)
        valid = queue[:n].detach().to(dtype)
        inputs.append(valid)
        z = torch.cat([z, valid])
        y = torch.cat([y, queue_labels[:n]])

    # Pairs (i, j) of an anchor and every other row: p_ij = z_i . z_j / T.
    p = z[:a] @ z.T / temperature
    self_pair = torch.eye(a, z.size(0), dtype=torch.bool, device=z.device)
    positive = (y[:a, None] == y[None, :]) & ~self_pair

    # The terms of L_i: gamma exp p_ij for the pairs, exp s_ic for the centers. With gamma = 0 there
    # are no pairs among them, however large.
    terms = p.masked_fill(self_pair, -math.inf) + math.log(gamma) if gamma > 0 else p[:, :0]
    # W_i = beta + alpha |P(i)|, and the bracket of l_i without its -W_i L_i.
    w = alpha * positive.sum(1).to(dtype)
    bracket = alpha * p.masked_fill(~positive, 0).sum(1)
    if center_logits is not None:
        s = center_logits.to(dtype)
        inputs.append(s)
        terms = torch.cat([s, terms], 1)
        if soft_targets is None:
            target = _smoothed_target(y[:a], s.size(1), label_smoothing, dtype)
        else:
            target = soft_targets.detach().to(dtype)
            inputs.append(target)
        w = w + beta
        bracket = bracket + beta * (target * s).sum(1)

    # l_i of the anchors with W_i > 0.
    if base_temperature is None:
        base_temperature = temperature
    counted = w > 0
    log_partition = torch.logsumexp(terms[counted], 1)
    w = w[counted]
    loss = -(temperature / base_temperature) * (bracket[counted] - w * log_partition) / w
    if anchor_weight is not None:
        weight = anchor_weight.detach().to(dtype)
        inputs.append(weight)
        loss = loss * weight[counted]

    # A NaN or an infinity must never come out as a plausible number: exp(-inf) = 0 would.
    for x in inputs:
        if not bool(x.isfinite().all()):
            return loss.sum() * math.nan
    return loss.sum() / a


def _smoothed_target(
    labels: Tensor, num_classes: int, epsilon: float, dtype: torch.dtype
) -> Tensor:
    """t_ic = 1 - epsilon for c = y_i, else epsilon / (C - 1)."""
    target = F.one_hot(labels, num_classes).to(dtype)
    if num_classes == 1:  # no other class to give epsilon to: the operator refuses one
        return target
    return target * (1 - epsilon) + (1 - target) * epsilon / (num_classes - 1)


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
    """The loss of :func:`paco.multi_label_paco_loss`, which documents the arguments."""
    dtype = torch.float64 if features.dtype == torch.float64 else torch.float32
    a = center_logits.size(0)
    z = features.to(dtype)
    s = center_logits.to(dtype)
    y = labels.to(dtype)
    inputs = [z, s]
    if queue is not None and queue_labels is not None:
        n = queue.size(0) if num_valid is None else int(num_valid)
        valid = queue[:n].detach().to(dtype)
        inputs.append(valid)
        z = torch.cat([z, valid])
        y = torch.cat([y, queue_labels[:n].to(dtype)])

    p = z[:a] @ z.T / temperature
    self_pair = torch.eye(a, z.size(0), dtype=torch.bool, device=z.device)
    unit = F.normalize(y, dim=1)  # a row without a class stays 0
    overlap = (unit[:a] @ unit.T).masked_fill(self_pair, 0)
    target = y[:a] / y[:a].sum(1, keepdim=True).clamp(min=1)

    terms = p.masked_fill(self_pair, -math.inf) + math.log(gamma) if gamma > 0 else p[:, :0]
    log_partition = torch.logsumexp(torch.cat([s, terms], 1), 1)
    w = beta * target.sum(1) + alpha * overlap.sum(1)
    counted = w > 0
    pull = beta * (target * s).sum(1) + alpha * (overlap * p).sum(1)
    loss = log_partition[counted] - pull[counted] / w[counted]
    if base_temperature is not None:
        loss = loss * (temperature / base_temperature)
    if anchor_weight is not None:
        weight = anchor_weight.detach().to(dtype)
        inputs.append(weight)
        loss = loss * weight[counted]
    for x in inputs:
        if not bool(x.isfinite().all()):
            return loss.sum() * math.nan
    return loss.sum() / a


def pixel_paco_loss(
    embeddings: Tensor,
    seg_logits: Tensor,
    labels: Tensor,
    queue: Tensor | None = None,
    queue_labels: Tensor | None = None,
    num_valid: Tensor | None = None,
    num_pixels: int | None = 8192,
    ignore_index: int = 255,
    across_images: bool = False,
    beta: float = 1.0,
    gamma: float = 1.0,
    base_temperature: float | None = None,
    *,
    alpha: float,
    temperature: float,
) -> Tensor:
    """The loss of :class:`paco.nn.PixelPaCoLoss`: :func:`paco.paco_loss` of each image's pixels.

    Args:
        embeddings: [N, D, H, W], of any length.
        seg_logits: [N, C, H, W].
        labels: int64 [N, H', W'], each in [0, C) or ``ignore_index``.
        queue: rows of the past, [K, D].
        queue_labels: int64 [K], in [0, C], where C stands for an ignored pixel.
        num_valid: how many leading rows of ``queue`` are filled.
        num_pixels: how many pixels of each image are drawn; None takes all.
        ignore_index: the label of ignored pixels.
        across_images: contrast the drawn pixels of the whole batch.
        beta: weight of the class center.
        gamma: weight of the pairs in the denominator.
        base_temperature: T_base; T by default.
        alpha: weight of a same-class pair.
        temperature: T.
    """
    size = embeddings.shape[2:]
    num_classes = seg_logits.size(1)
    y = F.interpolate(labels[:, None].double(), size=size, mode="nearest").long().flatten(1)
    y = y.masked_fill(y == ignore_index, num_classes)
    num = y.size(1) if num_pixels is None else min(num_pixels, y.size(1))
    features: list[Tensor] = []
    logits: list[Tensor] = []
    classes: list[Tensor] = []
    for image in range(y.size(0)):
        drawn = torch.arange(num)
        if num < y.size(1):
            drawn = torch.randperm(y.size(1))[:num]
        features.append(F.normalize(embeddings[image].flatten(1)[:, drawn].t(), dim=1))
        logits.append(seg_logits[image].flatten(1)[:, drawn].t())
        classes.append(y[image][drawn])
    if across_images:
        features, logits, classes = [torch.cat(features)], [torch.cat(logits)], [torch.cat(classes)]

    total = torch.zeros(1, dtype=embeddings.dtype)
    for z, s, c in zip(features, logits, classes):  # noqa: B905 (TorchScript knows no strict)
        # The anchors first, and then the ignored pixels, which are contrast rows alone.
        order = torch.argsort((c == num_classes).long(), stable=True)
        num_anchors = int((c < num_classes).sum())
        total = total + 0 * (z.sum() + s.sum())  # without anchors too, a NaN is a NaN
        if num_anchors > 0:
            total = total + paco_loss(
                z[order],
                c[order],
                s[order[:num_anchors]],
                queue,
                queue_labels,
                num_valid,
                None,
                num_anchors,
                beta,
                gamma,
                base_temperature,
                alpha=alpha,
                temperature=temperature,
            )
    return total.sum() / len(features)


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
    """The loss of :func:`paco.bcl_loss`, which documents the arguments, over [M, M + C + K]."""
    dtype = torch.float64 if features.dtype == torch.float64 else torch.float32
    m = features.size(0)
    z = torch.cat([features, prototypes]).to(dtype)
    y = torch.cat([labels, torch.arange(prototypes.size(0), device=labels.device)])
    if queue is not None and queue_labels is not None:
        n = queue.size(0) if num_valid is None else int(num_valid)
        z = torch.cat([z, queue[:n].detach().to(dtype)])
        y = torch.cat([y, queue_labels[:n]])

    p = z[:m] @ z.T / temperature
    self_pair = torch.eye(m, z.size(0), dtype=torch.bool, device=z.device)
    same_class = y[:m, None] == y[None, :]
    # w_ij = 1 / (n_{y_j} - 1{y_j = y_i}); an anchor's class has its own row and its prototype.
    w = 1 / (torch.bincount(y)[y] - same_class.to(torch.int64)).to(dtype)
    log_denominator = torch.logsumexp((p + w.log()).masked_fill(self_pair, -math.inf), 1)
    positive = (same_class & ~self_pair).to(dtype)
    mean_positive = (positive * p).sum(1) / positive.sum(1)
    loss = (log_denominator - mean_positive).mean()
    return loss if bool(z.isfinite().all()) else loss * math.nan


def center_logits(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    log_prior: Tensor | None = None,
    center_temperature: float = 1.0,
    tau: float = 1.0,
    scale: float | None = None,
) -> Tensor:
    """s_ic = (w_c . x_i + b_c) / T_c + tau log pi_c; see :func:`paco.center_logits`."""
    if scale is None:
        s = F.linear(x, weight, bias) / center_temperature
    else:
        s = scale * F.linear(F.normalize(x, dim=1), F.normalize(weight, dim=1))
    if log_prior is not None:
        s = s + tau * log_prior
    return s


def queue_enqueue_(
    queue: Tensor, queue_labels: Tensor, queue_state: Tensor, keys: Tensor, labels: Tensor
) -> None:
    """One row after another into a ring buffer; see :func:`paco.queue_enqueue_`."""
    size = queue.size(0)
    pointer, num_valid = int(queue_state[0]), int(queue_state[1])
    for i in range(keys.size(0)):
        queue[pointer] = keys[i].detach()
        queue_labels[pointer] = labels[i]
        pointer = (pointer + 1) % size
        num_valid = min(num_valid + 1, size)
    queue_state.copy_(torch.tensor([pointer, num_valid]))


def vmf_logits(
    features: Tensor, mean_direction: Tensor, concentration: Tensor, temperature: float
) -> Tensor:
    """Logits of von Mises-Fisher classes by the power series of I_nu; see :func:`paco.vmf_logits`.

    The series has about half as many terms as the largest kappa~; they are summed in float64.
    """
    z = features.double()
    mu = mean_direction.double()
    kappa = torch.where((mu == 0).all(1), torch.zeros_like(mu[:, 0]), concentration.double())
    square = kappa**2 + (z**2).sum(1, keepdim=True) / temperature**2
    square = square + 2 * kappa * (z @ mu.T) / temperature
    nu = z.size(1) / 2 - 1
    s = _log_bessel(nu, square) - _log_bessel(nu, kappa**2)
    return s.to(torch.float64 if features.dtype == torch.float64 else torch.float32)


def _log_bessel(nu: float, square: Tensor) -> Tensor:
    """Log I_nu(x) - nu log x of x^2, but for nu log 2, by DLMF 10.25.2."""
    square = square.clamp(min=1e-300)
    peak = float(square.detach().max()) ** 0.5 / 2  # the terms behind it shrink like a bell curve
    k = torch.arange(int(peak + 10 * peak**0.5) + 40, device=square.device).double()
    terms = k * torch.log(square / 4)[..., None] - torch.lgamma(k + 1) - torch.lgamma(nu + k + 1)
    return torch.logsumexp(terms, -1)


def class_mean_update_(
    class_mean: Tensor, class_count: Tensor, features: Tensor, labels: Tensor
) -> None:
    """The mean of all features of a class so far; see :func:`paco.class_mean_update_`."""
    for c in range(class_mean.size(0)):
        new = features[labels == c].detach().double()
        if new.size(0) == 0:
            continue
        total = new.sum(0)
        if int(class_count[c]) > 0:
            total = total + class_mean[c].double() * class_count[c]
        class_count[c] += new.size(0)
        class_mean[c] = total / class_count[c]
