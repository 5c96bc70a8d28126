"""How good a classifier is on a long tail: accuracies by group, calibration, two runs compared."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .longtail import class_counts, class_groups

__all__ = [
    "CalibrationBins",
    "Difference",
    "calibration_bins",
    "expected_calibration_error",
    "grouped_accuracy",
    "paired_difference",
    "per_class_accuracy",
]


def per_class_accuracy(predictions: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """The share of each class's samples that is predicted right.

    Args:
        predictions: int64 [N], predicted classes.
        labels: int64 [N], true classes, each in [0, num_classes).
        num_classes: C, the number of classes.

    Returns:
        float64 [C], NaN for a class without a sample.

    Raises:
        ValueError: for a label outside [0, num_classes), or lengths that differ.
    """
    if predictions.shape != labels.shape:
        raise ValueError(
            f"per_class_accuracy: predictions must be of labels' shape {list(labels.shape)}, got "
            f"{list(predictions.shape)}"
        )
    total = class_counts(labels, num_classes)
    correct = class_counts(labels[predictions == labels], num_classes)
    return correct.double() / total


def grouped_accuracy(
    predictions: Tensor, labels: Tensor, train_class_counts: Tensor | Sequence[int]
) -> dict[str, float]:
    """Mean per-class accuracy over all classes and over many, medium and few-shot classes.

    Args:
        predictions: int64 [N], predicted classes.
        labels: int64 [N], true classes.
        train_class_counts: [C], training samples of each class.

    Returns:
        Accuracies in [0, 1] under "all", "many", "medium" and "few". Classes without a test sample
        do not count; a group without any that has is NaN.
    """
    counts = torch.as_tensor(train_class_counts).to(labels.device)
    accuracy = per_class_accuracy(predictions, labels, counts.numel())
    result = {"all": torch.nanmean(accuracy).item()}
    for name, members in class_groups(counts).items():
        result[name] = torch.nanmean(accuracy[members]).item()
    return result


class CalibrationBins(NamedTuple):
    """Predictions gathered by confidence, as a calibration diagram shows them.

    Bin k of B holds the confidences in (k / B, (k + 1) / B].
    """

    counts: Tensor
    """int64 [B], predictions in each bin."""
    confidence: Tensor
    """float64 [B], their mean confidence, NaN for an empty bin."""
    accuracy: Tensor
    """float64 [B], the share of them that is right, NaN for an empty bin."""

    def expected_error(self) -> float:
        """Gap between confidence and accuracy, averaged over the predictions; NaN without any."""
        if not self.counts.any():
            return math.nan
        gap = (self.accuracy - self.confidence).abs().nan_to_num(0)
        return ((gap * self.counts).sum() / self.counts.sum()).item()


def calibration_bins(confidence: Tensor, correct: Tensor, num_bins: int = 15) -> CalibrationBins:
    """Gathers predictions into equal bins of confidence.

    Args:
        confidence: [N], the probability of each predicted class, in [0, 1].
        correct: bool [N], whether the prediction is right.
        num_bins: B, 15 in the literature.

    Returns:
        The bins, on the device of ``confidence``.

    Raises:
        ValueError: for shapes that do not match, or a confidence outside [0, 1].
    """
    if confidence.dim() != 1 or correct.shape != confidence.shape:
        raise ValueError(
            "calibration_bins: confidence and correct must both be [N], got "
            f"{list(confidence.shape)} and {list(correct.shape)}"
        )
    confidence = confidence.double()
    inside = (confidence >= 0) & (confidence <= 1 + 1e-5)  # a softmax's sum is off by rounding
    if not bool(inside.all()):
        raise ValueError(
            "calibration_bins: confidence must lie in [0, 1], got "
            f"{confidence[~inside][0].item():g}"
        )
    index = (torch.ceil(confidence * num_bins) - 1).clamp(0, num_bins - 1).long()
    counts = torch.bincount(index, minlength=num_bins)
    sums = confidence.new_zeros(2, num_bins)
    sums.index_add_(1, index, torch.stack([confidence, correct.double()]))
    return CalibrationBins(counts, sums[0] / counts, sums[1] / counts)


def expected_calibration_error(probabilities: Tensor, labels: Tensor, num_bins: int = 15) -> float:
    """Gap between confidence and accuracy, averaged over equal bins of confidence, by bin size.

    Args:
        probabilities: [N, C], rows that sum to 1.
        labels: int64 [N], true classes.
        num_bins: 15 in the literature.

    Returns:
        The error in [0, 1]; NaN without a sample.

    Raises:
        ValueError: for shapes that do not match, and rows that do not sum to 1, as those of logits.
    """
    if probabilities.dim() != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            "expected_calibration_error: probabilities must be [N, C] and labels [N], got "
            f"{list(probabilities.shape)} and {list(labels.shape)}"
        )
    sums = probabilities.sum(1, dtype=torch.float64)
    wrong = ~((sums - 1).abs() <= 1e-2)  # a softmax in bfloat16 is off by less; a NaN is wrong too
    if bool(wrong.any()):
        raise ValueError(
            "expected_calibration_error: probabilities must have rows that sum to 1, got "
            f"{sums[wrong][0].item():g}"
        )
    confidence, predicted = probabilities.max(1)
    return calibration_bins(confidence, predicted == labels, num_bins).expected_error()


class Difference(NamedTuple):
    """How much more accurate one run is than another, and the interval of that figure."""

    value: float
    """In [-1, 1], positive where the first run is better."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""


def paired_difference(
    predictions: Tensor,
    baseline: Tensor,
    labels: Tensor,
    train_class_counts: Tensor | Sequence[int],
    num_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Difference]:
    """Differences in accuracy of two runs on the same images, with paired bootstrap intervals.

    Each resample draws as many images of every class as there are, with replacement, and takes
    both runs' predictions of them: what the runs have in common cancels, and no class gets lost.
    The interval is that of the percentiles. It tells what other test images would have changed; how
    much another training seed would have, only other runs can tell. With n test images a class it
    is too narrow by the bootstrap's factor sqrt((n - 1) / n), a fifth for iNaturalist's 3.

    Args:
        predictions: int64 [N], predicted classes.
        baseline: int64 [N], those of the run to compare with, of the same images.
        labels: int64 [N], true classes.
        train_class_counts: [C], training samples of each class.
        num_resamples: how often the images are drawn.
        level: share of the resamples that lie in the interval, in (0, 1).
        seed: of the draws.

    Returns:
        Differences in [-1, 1] under "top1" and the names of :func:`grouped_accuracy`; NaN for a
        group without a test sample.

    Raises:
        ValueError: for shapes that do not match, a label that is no class, or a bad ``level`` or
            ``num_resamples``.
    """
    if predictions.dim() != 1 or not predictions.shape == baseline.shape == labels.shape:
        raise ValueError(
            "paired_difference: predictions, baseline and labels must all be [N], got "
            f"{list(predictions.shape)}, {list(baseline.shape)} and {list(labels.shape)}"
        )
    if not 0 < level < 1:
        raise ValueError(f"paired_difference: level must lie in (0, 1), got {level}")
    if num_resamples < 1:
        raise ValueError(
            f"paired_difference: num_resamples must be at least 1, got {num_resamples}"
        )
    train_counts = torch.as_tensor(train_class_counts).cpu()
    # By class, so that an image of a class is drawn by an offset from the class's first.
    labels, order = labels.cpu().sort()
    counts = class_counts(labels, train_counts.numel())
    first = (counts.cumsum(0) - counts)[labels]
    right, right_before = (p.cpu()[order] == labels for p in (predictions, baseline))
    gain = right.double() - right_before.double()

    # Every figure is a sum of gains, weighted by the image's class.
    groups = {"all": torch.ones_like(train_counts, dtype=torch.bool), **class_groups(train_counts)}
    rows = [torch.full_like(gain, 1 / len(labels))]
    for members in groups.values():
        tested = members & (counts > 0)
        rows.append((torch.where(tested, 1 / counts.double(), 0) / tested.sum())[labels])
    weights = torch.stack(rows)

    generator = torch.Generator().manual_seed(seed)
    resampled = []
    for _ in range(num_resamples):
        offset = torch.rand(len(labels), dtype=torch.float64, generator=generator) * counts[labels]
        resampled.append(weights @ gain[first + offset.long()])
    tail = (1 - level) / 2
    bounds = torch.stack(resampled).quantile(torch.tensor([tail, 1 - tail]).double(), dim=0)
    figures = torch.stack([weights @ gain, *bounds], dim=1)
    return {
        name: Difference(*row)
        for name, row in zip(["top1", *groups], figures.tolist(), strict=True)
    }
