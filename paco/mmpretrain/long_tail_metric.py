"""Accuracy where the training set has many images, and where it has few."""

import torch
from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS

from paco import longtail

__all__ = ["LongTailMetric"]


@METRICS.register_module()
class LongTailMetric(BaseMetric):
    """Top-1, top-5 and mean per-class accuracy over all, many, medium and few-shot classes.

    Many-shot classes have more than 100 training images, few-shot ones fewer than 20. The metrics
    are percentages named ``top1``, ``top5`` (with more than 5 classes), ``mean``, ``many``,
    ``medium`` and ``few``; a group without a class is NaN.

    Args:
        class_counts (Sequence[int], optional): Training images of each class. Defaults to those
            that :class:`ClassCountsHook` hands over.
        **kwargs: Of :class:`mmengine.evaluator.BaseMetric`.
    """

    default_prefix = "long_tail"

    def __init__(self, class_counts: list[int] | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.class_counts = class_counts

    def process(self, data_batch, data_samples: list[dict]) -> None:
        """Keeps each sample's label, its prediction and whether the label is among the top 5."""
        scores = torch.stack([sample["pred_score"] for sample in data_samples]).cpu()
        labels = torch.cat([sample["gt_label"] for sample in data_samples]).cpu()
        top = scores.topk(min(5, scores.size(1)), dim=1).indices
        among_top = (top == labels[:, None]).any(dim=1)
        self.results += zip(labels.tolist(), top[:, 0].tolist(), among_top.tolist(), strict=True)

    def compute_metrics(self, results: list[tuple[int, int, bool]]) -> dict[str, float]:
        if self.class_counts is None:
            raise RuntimeError(
                "LongTailMetric does not know the training set's class counts: add "
                "dict(type='ClassCountsHook') to custom_hooks, or pass class_counts"
            )
        labels, predictions, among_top = torch.tensor(results).unbind(1)
        groups = longtail.grouped_accuracy(predictions, labels, self.class_counts)
        metrics = {"top1": (predictions == labels).double().mean().item()}
        if len(self.class_counts) > 5:
            metrics["top5"] = among_top.double().mean().item()
        metrics["mean"] = groups.pop("all")
        return {name: 100 * value for name, value in (metrics | groups).items()}
