"""Long-tailed data: class counts and their prior, synthetic tails, and the groups of the tail."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = [
    "class_counts",
    "class_groups",
    "effective_number_weights",
    "exponential_profile",
    "log_prior",
    "log_target_prior",
    "long_tailed_subset",
]


def class_counts(labels: Tensor, num_classes: int) -> Tensor:
    """The number of samples of each class.

    Args:
        labels: int64 [N], each in [0, num_classes).
        num_classes: C, the number of classes.

    Returns:
        int64 [C].

    Raises:
        ValueError: for a label outside [0, num_classes).
    """
    _check_labels("class_counts", labels, num_classes)
    return torch.bincount(labels, minlength=num_classes)


def log_prior(class_counts: Tensor) -> Tensor:
    """log(n_c / sum n + 1e-9), the prior of :func:`paco.center_logits` (Balanced Softmax, eq. 4).

    Args:
        class_counts: n, [C], each >= 0 and not all zero.

    Returns:
        float32 [C], on the device of ``class_counts``.

    Raises:
        ValueError: for counts that are no counts.
    """
    counts = class_counts.double()
    if counts.dim() != 1 or counts.numel() == 0:
        raise ValueError(
            f"log_prior: class_counts must be [C] with C >= 1, got shape {list(counts.shape)}"
        )
    if not bool(counts.isfinite().all()) or bool((counts < 0).any()) or not bool(counts.any()):
        raise ValueError(
            "log_prior: class_counts must be finite, >= 0 and not all zero, got "
            f"a minimum of {counts.min().item()} and a sum of {counts.sum().item()}"
        )
    return torch.log(counts / counts.sum() + 1e-9).float()


def log_target_prior(target_prior: Tensor, num_classes: int) -> Tensor:
    """log(q_c / sum q), what a known prior q of the test set adds to logits (Bayes' rule).

    A class that does not occur, q_c = 0, has -inf.

    Args:
        target_prior: q, [C], probabilities or counts, each >= 0 and not all zero.
        num_classes: C.

    Returns:
        float64 [C], on the device of ``target_prior``.

    Raises:
        ValueError: for another number of entries and for entries that are no probabilities.
            Compiled code does not look at them, and gives NaN for all classes.
    """
    q = target_prior.double()
    if q.dim() != 1 or q.numel() != num_classes:
        raise ValueError(
            f"log_target_prior: target_prior must be [{num_classes}], a number for each class, got "
            f"shape {list(q.shape)}"
        )
    valid = (q.isfinite() & (q >= 0)).all() & q.any()
    if not torch.compiler.is_compiling() and not bool(valid):
        raise ValueError(
            "log_target_prior: target_prior must be finite, >= 0 and not all zero, got "
            f"a minimum of {q.min().item()} and a sum of {q.sum().item()}"
        )
    return torch.where(valid, torch.log(q / q.sum()), math.nan)


def effective_number_weights(class_counts: Tensor, beta: float) -> Tensor:
    """(1 - beta) / (1 - beta^n_c), scaled to a mean of 1 over the classes.

    The inverse of the effective number of samples (Cui et al., "Class-Balanced Loss Based on
    Effective Number of Samples", CVPR 2019, eq. 3): beta = 0 weighs all classes alike, beta near 1
    by 1 / n_c.

    Args:
        class_counts: n, [C], each at least 1.
        beta: in [0, 1).

    Returns:
        float32 [C], on the device of ``class_counts``.

    Raises:
        ValueError: for a bad argument.
    """
    counts = class_counts.double()
    if not 0 <= beta < 1:
        raise ValueError(f"effective_number_weights: beta must lie in [0, 1), got {beta}")
    if counts.dim() != 1 or counts.numel() == 0:
        raise ValueError(
            "effective_number_weights: class_counts must be [C] with C >= 1, got shape "
            f"{list(counts.shape)}"
        )
    if not bool(counts.isfinite().all()) or not bool((counts >= 1).all()):
        raise ValueError(
            "effective_number_weights: class_counts must be finite and at least 1, got "
            f"a minimum of {counts.min().item()} and a sum of {counts.sum().item()}"
        )
    weights = torch.ones_like(counts)
    if beta > 0:
        weights = -1 / torch.expm1(counts * math.log(beta))
    return (weights / weights.mean()).float()


def exponential_profile(max_count: int, num_classes: int, imbalance_factor: float) -> list[int]:
    """The usual long-tailed profile, n_i = int(n_max * (1 / IF)^(i / (C - 1))).

    Args:
        max_count: n_max, the samples of class 0, >= 1.
        num_classes: C, >= 1.
        imbalance_factor: IF, >= 1; class C - 1 keeps n_max / IF samples.

    Returns:
        C counts, none rising over the one before.

    Raises:
        ValueError: for a bad argument.
    """
    if max_count < 1:
        raise ValueError(f"exponential_profile: max_count must be at least 1, got {max_count}")
    if num_classes < 1:
        raise ValueError(f"exponential_profile: num_classes must be at least 1, got {num_classes}")
    if imbalance_factor < 1:
        raise ValueError(
            f"exponential_profile: imbalance_factor must be at least 1, got {imbalance_factor}"
        )
    last = max(num_classes - 1, 1)
    return [int(max_count * (1 / imbalance_factor) ** (i / last)) for i in range(num_classes)]


def long_tailed_subset(labels: Tensor | Sequence[int], counts: Sequence[int], seed: int) -> Tensor:
    """Chooses ``counts[c]`` samples of each class c by a seeded shuffle of that class.

    One seed shuffles the same way whatever the counts are, so a smaller subset lies inside a
    larger one.

    Args:
        labels: int64 [N].
        counts: how many samples of each class to keep; as many as there are at most.
        seed: of the shuffle.

    Returns:
        int64 [sum(counts)], the chosen indices, ascending.

    Raises:
        ValueError: for a label without a count, or a class with fewer samples than its count.
    """
    labels = torch.as_tensor(labels, dtype=torch.int64)
    _check_labels("long_tailed_subset", labels, len(counts))
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for c, count in enumerate(counts):
        members = torch.nonzero(labels == c).flatten()
        if not 0 <= count <= members.numel():
            raise ValueError(
                f"long_tailed_subset: counts[{c}] must lie in [0, {members.numel()}], the samples "
                f"of that class, got {count}"
            )
        chosen.append(members[torch.randperm(members.numel(), generator=generator)[:count]])
    return torch.cat(chosen).sort().values


def class_groups(class_counts: Tensor | Sequence[int]) -> dict[str, Tensor]:
    """The usual groups: many (> 100 training samples), medium (20 to 100) and few (< 20).

    Args:
        class_counts: [C], training samples of each class.

    Returns:
        A bool [C] for each of "many", "medium" and "few"; together they hold every class once.
    """
    counts = torch.as_tensor(class_counts)
    many = counts > 100
    few = counts < 20
    return {"many": many, "medium": ~many & ~few, "few": few}


def _check_labels(function: str, labels: Tensor, num_classes: int) -> None:
    if labels.numel() == 0:
        return
    if int(labels.min()) < 0 or int(labels.max()) >= num_classes:
        raise ValueError(
            f"{function}: labels must lie in [0, {num_classes}), got {int(labels.min())} to "
            f"{int(labels.max())}"
        )
