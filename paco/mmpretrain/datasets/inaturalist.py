"""iNaturalist 2018 from its JSON annotations."""

import json
from collections.abc import Iterator

from mmpretrain.registry import DATASETS

from .. import compat
from .annotated_images import AnnotatedImages, Annotation, read_text

__all__ = ["INaturalist"]


@DATASETS.register_module()
class INaturalist(AnnotatedImages):
    """Images named in a JSON file of ``images``, ``annotations`` and ``categories``.

    `Van Horn et al., CVPR 2018 <https://arxiv.org/abs/1707.06642>`_; the 2018 edition has 437,513
    training and 24,426 validation images of 8,142 classes. Labels number the categories in the
    order of their ids, and each image has one annotation.

    Args:
        ann_file (str): The file, such as ``train2018.json``.
        **kwargs: Passed to :class:`mmpretrain.datasets.BaseDataset`: ``data_prefix``, the folder
            that the file's ``file_name`` start from, ``pipeline`` and the like.
            ``test_mode=True`` allows classes without an image.
    """

    def read_annotations(self) -> Iterator[Annotation]:
        try:
            content = json.loads(read_text(self.ann_file))
        except json.JSONDecodeError as error:
            raise self.error(f"line {error.lineno}", f"is not JSON: {error.msg}") from error
        categories = self._table(content, "categories", "id", "name")
        paths = self._table(content, "images", "id", "file_name")
        ids = sorted(categories)
        compat.set_class_names(self, tuple(categories[i] for i in ids))
        labels = {category: label for label, category in enumerate(ids)}

        annotated = set()
        for place, image, category in self._rows(content, "annotations", "image_id", "category_id"):
            if image not in paths:
                raise self.error(place, f"image_id {image!r} is not among the images")
            if image in annotated:
                raise self.error(place, f"image_id {image!r} has an annotation already")
            if category not in labels:
                raise self.error(place, f"category_id {category!r} is not among the categories")
            annotated.add(image)
            yield Annotation(paths[image], labels[category], place)
        if len(annotated) < len(paths):
            image = next(image for image in paths if image not in annotated)
            raise self.error("images", f"id {image!r} ({paths[image]}) has no annotation")

    def _table(self, content: dict, part: str, key: str, value: str) -> dict[int, str]:
        table: dict[int, str] = {}
        for place, number, text in self._rows(content, part, key, value):
            if number in table:
                raise self.error(place, f"{key} {number} is there already")
            table[number] = text
        return table

    def _rows(self, content: dict, part: str, *keys: str) -> Iterator[tuple]:
        """The place of each entry of a part of the file, and the entry's values of these keys."""
        if not isinstance(content, dict) or not isinstance(content.get(part), list):
            raise self.error(part, "the file must have a list of this name")
        for i, row in enumerate(content[part]):
            place = f"{part}[{i}]"
            if not isinstance(row, dict) or any(key not in row for key in keys):
                raise self.error(place, f"must have {' and '.join(keys)}, got {row!r}")
            for key in keys:
                kind = int if key.endswith("id") else str
                if type(row[key]) is not kind:
                    raise self.error(place, f"{key} must be of {kind.__name__}, got {row[key]!r}")
            yield place, *(row[key] for key in keys)
