"""A small PaCo model and batches for it."""

import torch
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

NUM_CLASSES = 5


def model_config(momentum: float | None = 0.9, **head) -> dict:
    """A PaCo (or, without a momentum, GPaCo) classifier of 8 x 8 grey images."""
    return dict(
        type="PaCoClassifier",
        backbone=dict(type="SmallImageResNet", depth=8, in_channels=1),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(
            type="PaCoHead",
            num_classes=NUM_CLASSES,
            in_channels=64,
            feat_channels=6,
            queue_size=20,
            projector=dict(type="Projector", num_layers=2, norm=True),
            loss=dict(type="PaCoLoss", alpha=0.3, temperature=0.2),
            **head,
        ),
        momentum=momentum,
    )


def build(config: dict, class_counts: tuple[int, ...] = (50, 20, 9, 4, 1)) -> ImageClassifier:
    model = MODELS.build(config)
    model.init_weights()
    model.head.set_class_counts(torch.tensor(class_counts))
    return model.train()


def views_of(batch: int, num_views: int = 2) -> tuple[Tensor, list[DataSample]]:
    """Views of a batch as the preprocessor hands them over, and the images' labels."""
    samples = [DataSample().set_gt_label(y) for y in torch.randint(NUM_CLASSES, (batch,)).tolist()]
    return torch.randn(num_views * batch, 1, 8, 8), samples


def labels_of(samples: list[DataSample]) -> Tensor:
    return torch.cat([sample.gt_label for sample in samples])
