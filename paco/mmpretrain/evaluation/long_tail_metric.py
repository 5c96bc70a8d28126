"""Accuracy where the training set has many images, and where it has few; and calibration."""

import torch
from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS

from paco import metrics as paco_metrics

__all__ = ["LongTailMetric"]


@METRICS.register_module()
class LongTailMetric(BaseMetric):
    """Top-1, top-5 and mean per-class accuracy over many, medium and few shots; calibration error.

    Many-shot classes have more than 100 training images, few-shot ones fewer than 20. The metrics
    are percentages named ``top1``, ``top5`` (with more than 5 classes), ``mean``, ``many``,
    ``medium``, ``few`` and ``calibration_error`` (15 bins); a group without a class is NaN.

    Args:
        class_counts (Sequence[int], optional): Training images of each class. Defaults to those
            that :class:`ClassCountsHook` hands over.
        **kwargs: Passed to :class:`mmengine.evaluator.BaseMetric`.
    """

    default_prefix = "long_tail"

    def __init__(self, class_counts: list[int] | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.class_counts = class_counts

    def process(self, data_batch, data_samples: list[dict]) -> None:
        """Keeps each sample's label, prediction, confidence and whether the label is in the top 5.

        Args:
            data_batch: Not used.
            data_samples: The toolbox's results; ``pred_score`` holds probabilities, [C].

        Raises:
            ValueError: For probabilities that are NaN, or not one for each of the class counts.
        """
        scores = torch.stack([sample["pred_score"] for sample in data_samples]).cpu()
        if self.class_counts is not None and len(self.class_counts) != scores.size(1):
            raise ValueError(
                f"LongTailMetric: class_counts must have {scores.size(1)} entries, one a class, "
                f"got {len(self.class_counts)}"
            )
        if scores.isnan().any():
            raise ValueError(
                "LongTailMetric: the model's probabilities are NaN, as after training that "
                "diverged; its loss in the log says when"
            )
        labels = torch.cat([sample["gt_label"] for sample in data_samples]).cpu()
        top_scores, top = scores.topk(min(5, scores.size(1)), dim=1)
        among_top = (top == labels[:, None]).any(dim=1)
        kept = (labels, top[:, 0], among_top, top_scores[:, 0])
        self.results += zip(*(values.tolist() for values in kept), strict=True)

    def compute_metrics(self, results: list[tuple[int, int, bool, float]]) -> dict[str, float]:
        """The percentages, from what :meth:`process` kept of every sample."""
        if self.class_counts is None:
            raise RuntimeError(
                "LongTailMetric does not know the training set's class counts: add "
                "dict(type='ClassCountsHook') to custom_hooks, or pass class_counts"
            )
        labels, predictions, among_top, confidence = map(torch.tensor, zip(*results, strict=True))
        correct = predictions == labels
        groups = paco_metrics.grouped_accuracy(predictions, labels, self.class_counts)
        metrics = {"top1": correct.double().mean().item()}
        if len(self.class_counts) > 5:
            metrics["top5"] = among_top.double().mean().item()
        metrics["mean"] = groups.pop("all")
        metrics |= groups
        bins = paco_metrics.calibration_bins(confidence, correct)
        metrics["calibration_error"] = bins.expected_error()
        return {name: 100 * value for name, value in metrics.items()}
