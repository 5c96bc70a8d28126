"""Predictions that `tools/test.py --out` wrote, and the classes of a config."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from paco.mmpretrain import count_classes  # first: it mends the toolbox's imports

# isort: split
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS
from torch import Tensor


class Predictions(NamedTuple):
    """A run's predictions of N test images."""

    images: list[str | int]  # their files, or their numbers in a data set without files
    labels: Tensor  # int64 [N]
    probabilities: Tensor  # [N, C]

    @property
    def classes(self) -> Tensor:
        """The predicted classes, int64 [N]."""
        return self.probabilities.argmax(dim=1)


class Classes(NamedTuple):
    """The classes of a config's training set."""

    names: tuple[str, ...]
    counts: Tensor  # int64 [C], their training images


def load_predictions(path: Path) -> Predictions:
    """Reads a file of predictions; a pickle runs code, so read none of a stranger's."""
    with open(path, "rb") as file:
        samples = pickle.load(file)
    if not isinstance(samples, list) or not samples or "pred_score" not in samples[0]:
        raise ValueError(f"{path} does not hold predictions, as tools/test.py --out writes them")
    return Predictions(
        [sample.get("img_path") or sample.get("sample_idx", i) for i, sample in enumerate(samples)],
        torch.cat([sample["gt_label"] for sample in samples]),
        torch.stack([sample["pred_score"] for sample in samples]).float(),
    )


def load_classes(cfg: Config) -> Classes:
    """The classes of a config, from its training set."""
    init_default_scope(cfg.get("default_scope", "mmpretrain"))
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    counts = count_classes(dataset).images
    # ImageNet has "tench, Tinca tinca"; the first is enough for a figure.
    names = tuple(str(name).split(",")[0] for name in dataset.metainfo["classes"])
    return Classes(names, counts)


def load_runs(paths: Sequence[Path], classes: Classes) -> list[Predictions]:
    """Several runs' predictions; fails unless they are of these classes and of the same images."""
    runs = [load_predictions(path) for path in paths]
    for path, run in zip(paths, runs, strict=True):
        width = run.probabilities.size(1)
        if width != len(classes.names):
            raise ValueError(f"{path} is of {width} classes, the config of {len(classes.names)}")
        check_same_images(path, runs[0], run)
    return runs


def check_same_images(path: Path, predictions: Predictions, others: Predictions) -> None:
    """Fails where two runs were not tested on the same images in the same order."""
    images = list(zip(predictions.images, predictions.labels.tolist(), strict=True))
    other_images = list(zip(others.images, others.labels.tolist(), strict=True))
    if len(images) != len(other_images):
        raise ValueError(f"{path} has {len(other_images)} images, and the first run {len(images)}")
    for i, (image, other) in enumerate(zip(images, other_images, strict=True)):
        if image != other:
            raise ValueError(
                f"{path} is of other test images: number {i} is {other[0]}, label {other[1]}, and "
                f"in the first run {image[0]}, label {image[1]}"
            )
