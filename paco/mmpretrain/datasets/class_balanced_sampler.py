"""Draws every class as often as every other."""

import math
from collections.abc import Iterator

import torch
from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Dataset

from .class_counts import labels_of_dataset

__all__ = ["ClassBalancedSampler"]


@DATA_SAMPLERS.register_module()
class ClassBalancedSampler(DefaultSampler):
    """Draws a class, each as likely as the others, and then one of its images, with replacement.

    An epoch has as many draws as the data set has images. The prior of a head is that of the
    images, which these draws do not have: set ``prior=False`` beside it.

    Args:
        dataset: One of the toolbox's, with a ``gt_label`` for each image. Classes without an image
            are left out.
        seed (int, optional): Of the draws, the same on all processes. Defaults to a random one.
    """

    def __init__(self, dataset: Dataset, seed: int | None = None) -> None:
        super().__init__(dataset, shuffle=True, seed=seed, round_up=True)
        labels = labels_of_dataset(dataset)
        self._by_class = labels.argsort(stable=True)
        counts = labels.bincount()
        self._counts = counts[counts > 0]
        self._begins = self._counts.cumsum(0) - self._counts

    def draw(self, number: int, generator: torch.Generator) -> torch.Tensor:
        """Indices of ``number`` images, int64."""
        classes = torch.randint(len(self._counts), (number,), generator=generator)
        place = torch.rand(number, dtype=torch.float64, generator=generator)
        within = (place * self._counts[classes]).long()
        return self._by_class[self._begins[classes] + within]

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        indices = self.draw(self.total_size, generator)
        return iter(indices[self.rank :: self.world_size].tolist())

    def __len__(self) -> int:
        return math.ceil(len(self.dataset) / self.world_size)
