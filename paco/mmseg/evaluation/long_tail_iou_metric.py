"""IoU where the training set has many pixels, and where it has few."""

from collections.abc import Sequence

import torch
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS
from torch import Tensor

__all__ = ["LongTailIoUMetric", "read_class_pixels"]


@METRICS.register_module()
class LongTailIoUMetric(IoUMetric):
    """The toolbox's IoUMetric, with the mean IoU of classes of many, medium and few pixels.

    The groups are by a class's share of the labelled training pixels. Percentages are named
    ``mIoU_many``, ``mIoU_medium`` and ``mIoU_few``; a class that neither occurs nor is predicted
    does not count, and a group without any is NaN.

    Args:
        class_pixels (Sequence[int] | str): Training pixels of each class, or the file that
            tools/count_pixels.py wrote of them.
        many (float): Classes of a larger share are those of many pixels. Defaults to 0.01.
        few (float): Classes of a smaller share are those of few pixels. Defaults to 0.001.
        **kwargs: Passed to the IoUMetric.

    Raises:
        ValueError: For counts that are negative or all 0, or bounds that are not 0 <= few <= many.
    """

    def __init__(
        self,
        class_pixels: Sequence[int] | str,
        many: float = 0.01,
        few: float = 0.001,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(class_pixels, str):
            class_pixels = read_class_pixels(class_pixels)
        counts = torch.tensor([int(n) for n in class_pixels])
        if not (counts >= 0).all() or not counts.any():
            raise ValueError(
                f"LongTailIoUMetric: class_pixels must be >= 0 and not all 0, got {class_pixels}"
            )
        if not 0 <= few <= many:
            raise ValueError(
                f"LongTailIoUMetric: few and many must be 0 <= few <= many, got {few} and {many}"
            )
        share = counts.double() / counts.sum()
        is_many, is_few = share > many, share < few
        self.groups = {"many": is_many, "medium": ~is_many & ~is_few, "few": is_few}

    def compute_metrics(self, results: list[tuple[Tensor, ...]]) -> dict[str, float]:
        """The toolbox's metrics, and the groups' mean IoU in percent."""
        metrics = super().compute_metrics(results)
        if self.format_only:
            return metrics
        intersection, union = (
            sum(areas).double() for areas in list(zip(*results, strict=True))[:2]
        )
        iou = 100 * intersection / union
        if len(iou) != len(self.groups["many"]):
            raise ValueError(
                f"LongTailIoUMetric: class_pixels must have {len(iou)} entries, one a class, got "
                f"{len(self.groups['many'])}"
            )
        for name, members in self.groups.items():
            metrics[f"mIoU_{name}"] = round(torch.nanmean(iou[members]).item(), 2)
        return metrics


def read_class_pixels(path: str) -> list[int]:
    """Counts of pixels from a text file, a class a line.

    Args:
        path: the file.

    Raises:
        ValueError: for a line that is no whole number >= 0, by file and line.
        OSError: if the file cannot be read.
    """
    with open(path, encoding="utf-8") as lines:
        counts = []
        for number, line in enumerate(lines, 1):
            if not line.strip().isdecimal():
                raise ValueError(f"{path}:{number}: expected a number of pixels, got {line!r}")
            counts.append(int(line))
    return counts
