"""Data sets in the form that long-tailed benchmarks are published in: a list of images."""

import re
from collections.abc import Iterator

from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
from mmpretrain.registry import DATASETS

from .annotated_images import AnnotatedImages, Annotation, read_lines

__all__ = ["ImageList", "ImageNetLT"]


@DATASETS.register_module()
class ImageList(AnnotatedImages):
    """Images named in a list file, ``relative/path label`` a line: Places-LT, and your own.

    ``tools/dataset_converters/long_tailed_list.py`` writes such lists from a folder of images.
    Blank lines count for nothing.

    Args:
        ann_file (str): The list.
        num_classes (int, optional): C, where the classes have no names; they are called "0" to
            "C - 1" then. Otherwise pass ``classes``, and not both.
        **kwargs: Passed to :class:`mmpretrain.datasets.BaseDataset`: ``data_prefix``, the folder
            that the paths start from, ``classes``, ``pipeline`` and the like. ``test_mode=True``
            allows classes without an image.
    """

    def __init__(self, ann_file: str, num_classes: int | None = None, **kwargs) -> None:
        if num_classes is not None:
            if kwargs.get("classes") is not None:
                raise ValueError(
                    f"{type(self).__name__}: num_classes or classes must be given, not both, got "
                    f"num_classes={num_classes} and classes={kwargs['classes']!r}"
                )
            kwargs["classes"] = tuple(map(str, range(num_classes)))
        super().__init__(ann_file, **kwargs)

    def read_annotations(self) -> Iterator[Annotation]:
        if self.CLASSES is None:
            raise ValueError(f"{type(self).__name__}: num_classes or classes must be given")
        for number, line in enumerate(read_lines(self.ann_file), 1):
            if not line.strip():
                continue
            place = f"line {number}"
            words = line.rsplit(maxsplit=1)
            if len(words) != 2 or not re.fullmatch("-?[0-9]{1,18}", words[1]):
                raise self.error(place, f"must be 'relative/path label', got {line.rstrip()!r}")
            yield Annotation(words[0], int(words[1]), place)


@DATASETS.register_module()
class ImageNetLT(ImageList):
    """ImageNet-LT: 115,846 training images of 1,000 classes, 1,280 to 5 a class.

    `Liu et al., CVPR 2019 <https://arxiv.org/abs/1904.05160>`_. The labels are ImageNet's own. For
    the arguments see :class:`ImageList`.
    """

    METAINFO = {"classes": IMAGENET_CATEGORIES}  # noqa: RUF012
