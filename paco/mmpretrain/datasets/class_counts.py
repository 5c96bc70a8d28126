"""How many training images each class has."""

from typing import NamedTuple

import numpy as np
import torch
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset
from torch import Tensor
from torch.utils.data import Dataset

from paco import longtail

__all__ = ["ClassCounts", "count_classes", "labels_of_dataset"]


class ClassCounts(NamedTuple):
    """A training set's class counts, int64 [C] each; they differ where a wrapper repeats images."""

    drawn: Tensor
    """How often each class is seen in an epoch, which the prior is made of."""
    images: Tensor
    """How many images each class has, which decides between many, medium and few."""


class _Labels(NamedTuple):
    drawn: Tensor
    images: Tensor


def count_classes(dataset: Dataset) -> ClassCounts:
    """Counts a training set's classes, in one walk over its annotations; no image is read.

    Args:
        dataset: One of the toolbox's, with a ``gt_label`` for each image and ``classes`` in its
            ``metainfo``. An image counts once though one of the toolbox's wrappers repeats it.

    Raises:
        ValueError: For a data set without class names, or with several labels an image.
    """
    classes = dataset.metainfo.get("classes")
    if not classes:
        raise ValueError(
            f"{type(dataset).__name__} has no class names: give it classes=[...], or "
            "metainfo=dict(classes=[...])"
        )
    num_classes = len(classes)
    return ClassCounts(*(longtail.class_counts(x, num_classes) for x in _labels(dataset)))


def labels_of_dataset(dataset: Dataset) -> Tensor:
    """The label of each index of a data set, int64; see :func:`count_classes`."""
    return _labels(dataset).drawn


def _labels(dataset: Dataset) -> _Labels:
    """The labels of an epoch, and those of the images."""
    if isinstance(dataset, ConcatDataset):
        parts = map(_labels, dataset.datasets)
        return _Labels(*map(torch.cat, zip(*parts, strict=True)))
    if isinstance(dataset, RepeatDataset):
        drawn, images = _labels(dataset.dataset)
        return _Labels(drawn.repeat(dataset.times), images)
    if isinstance(dataset, ClassBalancedDataset):
        dataset.full_init()
        drawn, images = _labels(dataset.dataset)
        return _Labels(drawn[torch.tensor(dataset.repeat_indices)], images)
    values = [dataset.get_data_info(i)["gt_label"] for i in range(len(dataset))]
    if any(np.ndim(value) for value in values):
        raise ValueError(
            f"{type(dataset).__name__} has several labels an image; class counts, class centers "
            "and PaCo are for one"
        )
    labels = torch.tensor(values, dtype=torch.int64)
    return _Labels(labels, labels)
