"""Data sets whose images are named in a file, all of it checked before training starts."""

import io
import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import mmcv
import numpy as np
from mmpretrain.datasets import BaseDataset
from PIL import Image

from ..naming import named, shortened

__all__ = ["AnnotatedImages", "Annotation"]


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
    label that is no class, for an image with two labels and for one that does not exist; and unless
    ``test_mode`` is set, for a class without an image. The file, and one of class names, are UTF-8,
    with a byte-order mark or without.

    An image that exists and cannot be decoded is found when its turn comes, and then named in the
    same way: decoding all of them first would take an epoch's time. ``tools/check_images.py`` does
    that, once.

    Images and annotations lie in a local file system.

    Args:
        ann_file (str): The annotation file.
        classes (str | Sequence[str], optional): The class names, or a file of one a line. Defaults
            to those of the class's ``METAINFO``, or of the annotation file.
        **kwargs: Passed to :class:`mmpretrain.datasets.BaseDataset`.
    """

    def __init__(self, ann_file: str, classes: str | Sequence[str] | None = None, **kwargs) -> None:
        if isinstance(classes, str):
            classes = read_class_names(classes)
        super().__init__(ann_file, classes=classes, **kwargs)

    @abstractmethod
    def read_annotations(self) -> Iterator[Annotation]:
        """Reads ``self.ann_file``; the class names are known once it is through."""

    def load_data_list(self) -> list[dict]:
        annotations = list(self.read_annotations())
        if not annotations:
            raise ValueError(f"{self.ann_file} names no image")
        num_classes = len(self.CLASSES)
        for annotation in annotations:
            if not 0 <= annotation.label < num_classes:
                raise self.error(
                    annotation.place,
                    f"the label must lie in [0, {num_classes}), got {annotation.label}",
                )
        self._check_labels(annotations)
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
        return ValueError(f"{self.ann_file}, {place}: {shortened(message)}")

    def _check_labels(self, annotations: list[Annotation]) -> None:
        first: dict[str, Annotation] = {}
        for annotation in annotations:
            other = first.setdefault(os.path.normpath(annotation.path), annotation)
            if other.label != annotation.label:
                raise self.error(
                    annotation.place,
                    f"the label is {annotation.label}, and {other.label} at {other.place}, of one "
                    f"image, {annotation.path}",
                )

    def _check_files(self, annotations: list[Annotation]) -> None:
        # Listing each folder once is much faster than asking for every file, above all on a
        # network's file system.
        listings: dict[str, set[str]] = {}
        missing = []
        for annotation in annotations:
            folder, name = os.path.split(os.path.join(self.img_prefix, annotation.path))
            if folder not in listings:
                listings[folder] = files_in(folder) if os.path.isdir(folder) else set()
            if name not in listings[folder]:
                missing.append(annotation)
        if missing:
            names = [
                f"{annotation.place}: {os.path.join(self.img_prefix, annotation.path)}"
                for annotation in missing
            ]
            raise FileNotFoundError(
                f"{self.ann_file} names {len(missing)} images of {len(annotations)} that do not "
                f"exist: {named(names, '; ')}"
            )

    def _check_classes(self, annotations: list[Annotation]) -> None:
        labels = np.array([annotation.label for annotation in annotations], dtype=np.int64)
        counts = np.bincount(labels, minlength=len(self.CLASSES))
        empty = np.flatnonzero(counts == 0)
        if len(empty):
            raise ValueError(
                f"{self.ann_file} has no image of {len(empty)} classes of {len(counts)}: "
                f"{named([f'{c} ({self.CLASSES[c]})' for c in empty])}"
            )


def files_in(folder: str) -> set[str]:
    """The names of files: no folders, broken links, and pipes, which would be waited for."""
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_file()}


def read_text(path: str) -> str:
    """A text file in UTF-8, without the byte-order mark that some editors put before it."""
    with open(path, "rb") as file:
        content = file.read()
    wrong_at = content.find(b"\0")  # every other byte of English in UTF-16
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wrong_at = error.start
    if wrong_at >= 0:
        line = content.count(b"\n", 0, wrong_at) + 1
        raise ValueError(
            f"{path}, line {line}: is not UTF-8, but UTF-16, GBK or the like; save it as UTF-8"
        )
    return text


def read_lines(path: str) -> list[str]:
    """Its lines; ``splitlines`` would end them within a name too, at U+2028 for one."""
    return [line.rstrip("\n") for line in io.StringIO(read_text(path), newline=None)]


def read_class_names(path: str) -> tuple[str, ...]:
    """The class names of a file, one a line."""
    names = read_lines(os.path.expanduser(path))
    for number, name in enumerate(names, 1):
        if not name.strip():
            raise ValueError(f"{path}, line {number}: a class has no name")
    return tuple(names)


def is_animated(path: str) -> bool:
    """Whether it is a GIF, or a PNG or WebP of several frames, which paco-classify refuses too.

    OpenCV's versions take different frames of one, or none, or all laid over each other.
    """
    try:
        with Image.open(path) as image:
            return image.format == "GIF" or (
                image.format in ("PNG", "WEBP") and getattr(image, "is_animated", False)
            )
    except (OSError, ValueError, SyntaxError):  # no image of Pillow's
        return False


def is_readable(path: str) -> bool:
    """Whether the toolbox's ``LoadImageFromFile`` can decode this file."""
    try:
        return mmcv.imread(path) is not None
    except Exception:  # OpenCV's own error for an empty file, the system's for one it cannot open
        return False
