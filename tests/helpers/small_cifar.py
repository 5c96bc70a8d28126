"""CIFAR-100 in small, and the settings that train a recipe on it in seconds."""

from pathlib import Path

import cv2
import numpy as np

PER_CLASS = {"train": 5, "test": 2}


def write_cifar100(root: Path, names: list[str]) -> Path:
    """Writes folders of images, a colour for each class, and returns ``root``."""
    for split, count in PER_CLASS.items():
        for name in names:
            (root / split / name).mkdir(parents=True)
            colour = np.random.randint(30, 226, 3)
            for i in range(count):
                image = (colour + np.random.normal(0, 20, (32, 32, 3))).clip(0, 255)
                cv2.imwrite(str(root / split / name / f"{i}.png"), image.astype(np.uint8))
    return root


def options(root: Path) -> dict:
    """Settings for a recipe of configs/cifar100_lt: 204 images in batches of 32, two epochs."""
    parts = ("train", "val", "test")
    return {
        **{f"{part}_dataloader.dataset.data_root": str(root) for part in parts},
        "train_dataloader.batch_size": 32,
        "train_dataloader.dataset.imbalance_factor": 5,
        "model.backbone.depth": 8,
        "model.head.queue_size": 100,
        "train_cfg.max_epochs": 2,
        "train_cfg.val_interval": 1,
    }
