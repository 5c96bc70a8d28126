"""Data sets whose images are named in a file, all of it checked before training starts."""

import os
from abc import abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import mmcv
import numpy as np
from mmpretrain.datasets import BaseDataset

__all__ = ["AnnotatedImages", "Annotation"]

NAMED_AT_MOST = 3  # missing files or empty classes, in a message


class Annotation(NamedTuple):
    """An image, its label, and where in the annotation file a person finds it."""

    path: str
    """The image's file, below the data set's image folder."""
    label: int
    """Its class."""
    place: str
    """Such as "line 7"."""


class AnnotatedImages(BaseDataset):
    """Base of the data sets with an annotation file.

    Loading fails with the file and the place in it for an annotation that makes no sense, for a
    label that is no class and for an image that does not exist; and unless ``test_mode`` is set,
    for a class without an image. An image that exists and cannot be decoded is found when its turn
    comes, and then named in the same way: decoding all of them first would take an epoch's time.
    ``tools/check_images.py`` does that, once.

    Images and annotations lie in a local file system. The arguments are those of
    :class:`mmpretrain.datasets.BaseDataset`.
    """

    @abstractmethod
    def read_annotations(self) -> Iterator[Annotation]:
        """Reads ``self.ann_file``; the class names are known once it is through."""

    def load_data_list(self) -> list[dict]:
        annotations = list(self.read_annotations())
        num_classes = len(self.CLASSES)
        for annotation in annotations:
            if not 0 <= annotation.label < num_classes:
                raise self.error(
                    annotation.place,
                    f"the label must lie in [0, {num_classes}), got {annotation.label}",
                )
        self._check_files(annotations)
        if not self.test_mode:
            self._check_classes(annotations)
        return [
            {
                "img_path": os.path.join(self.img_prefix, annotation.path),
                "gt_label": annotation.label,
                "place": annotation.place,
            }
            for annotation in annotations
        ]

    def prepare_data(self, idx: int) -> dict:
        try:
            return super().prepare_data(idx)
        except Exception as error:
            info = self.get_data_info(idx)
            if is_readable(info["img_path"]):
                raise
            raise self.error(
                info["place"], f"{info['img_path']} is not an image that can be read"
            ) from error

    def error(self, place: str, message: str) -> ValueError:
        return ValueError(f"{self.ann_file}, {place}: {message}")

    def _check_files(self, annotations: list[Annotation]) -> None:
        # Listing each folder once is much faster than asking for every file, above all on a
        # network's file system.
        listings: dict[str, set[str]] = {}
        missing = []
        for annotation in annotations:
            folder, name = os.path.split(os.path.join(self.img_prefix, annotation.path))
            if folder not in listings:
                listings[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
            if name not in listings[folder]:
                missing.append(annotation)
        if missing:
            named = "; ".join(
                f"{annotation.place}: {os.path.join(self.img_prefix, annotation.path)}"
                for annotation in missing[:NAMED_AT_MOST]
            )
            raise FileNotFoundError(
                f"{self.ann_file} names {len(missing)} images of {len(annotations)} that do not "
                f"exist: {named}{'; ...' if len(missing) > NAMED_AT_MOST else ''}"
            )

    def _check_classes(self, annotations: list[Annotation]) -> None:
        labels = np.array([annotation.label for annotation in annotations], dtype=np.int64)
        counts = np.bincount(labels, minlength=len(self.CLASSES))
        empty = np.flatnonzero(counts == 0)
        if len(empty):
            named = ", ".join(f"{c} ({self.CLASSES[c]})" for c in empty[:NAMED_AT_MOST])
            raise ValueError(
                f"{self.ann_file} has no image of {len(empty)} classes of {len(counts)}: "
                f"{named}{', ...' if len(empty) > NAMED_AT_MOST else ''}"
            )


def is_readable(path: str) -> bool:
    """Whether the toolbox's ``LoadImageFromFile`` can decode this file."""
    try:
        return mmcv.imread(path) is not None
    except Exception:  # OpenCV's own error for an empty file, the system's for one it cannot open
        return False
