"""Segmentors of mmsegmentation, and generated images with labels for them."""

from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

CONFIGS = Path(__file__).parents[2] / "configs"

NORM = dict(type="BN")
BACKBONE = dict(
    type="ResNetV1c", depth=18, base_channels=8, norm_cfg=NORM, dilations=(1, 1, 1, 1)
)  # widths 8, 16, 32, 64
HEADS = {
    "UPerHead": dict(
        type="UPerHead", in_channels=[8, 16, 32, 64], in_index=[0, 1, 2, 3], norm_cfg=NORM
    ),
    "DepthwiseSeparableASPPHead": dict(
        type="DepthwiseSeparableASPPHead",
        in_channels=64,
        in_index=3,
        dilations=(1, 2),
        c1_in_channels=8,
        c1_channels=4,
        norm_cfg=NORM,
    ),
    "SegformerHead": dict(
        type="SegformerHead", in_channels=[8, 16, 32, 64], in_index=[0, 1, 2, 3], norm_cfg=NORM
    ),
    "FCNHead": dict(type="FCNHead", in_channels=64, in_index=3, num_convs=1, norm_cfg=NORM),
    "FCNHead without dropout": dict(
        type="FCNHead", in_channels=64, in_index=3, num_convs=1, norm_cfg=NORM, dropout_ratio=0
    ),
}
LOSS = dict(type="PixelPaCoLoss", alpha=0.01, temperature=0.07)


def build(model: dict) -> nn.Module:
    init_default_scope("mmseg")
    return MODELS.build(model)


def segmentor(head: str, *, classes: int = 5, contrast: dict | None = None, **settings) -> dict:
    """The config of a small segmentor; with ``contrast``, PaCo's."""
    model = dict(
        type="EncoderDecoder",
        data_preprocessor=dict(type="SegDataPreProcessor"),
        backbone=BACKBONE,
        decode_head=dict(HEADS[head], channels=16, num_classes=classes),
        test_cfg=ConfigDict(mode="whole"),
        **settings,
    )
    if contrast is not None:
        model |= dict(type="PaCoEncoderDecoder", contrast=dict(loss=LOSS) | contrast)
    return model


def batch(
    classes: int, images: int = 2, size: tuple[int, int] = (64, 64), ignored: float = 0.1
) -> tuple[Tensor, list[SegDataSample]]:
    """Normalised images and samples with labels in patches, some of them ignored."""
    samples = []
    for _ in range(images):
        labels = torch.randint(classes, (1, 1, size[0] // 8, size[1] // 8))
        labels = labels.repeat_interleave(8, 2).repeat_interleave(8, 3)[0]
        labels[torch.rand(labels.shape) < ignored] = 255
        sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size))
        sample.gt_sem_seg = PixelData(data=labels)
        samples.append(sample)
    return torch.randn(images, 3, *size), samples


def labels_of(samples: list[SegDataSample]) -> Tensor:
    return torch.cat([sample.gt_sem_seg.data for sample in samples])


def total(losses: dict[str, Tensor]) -> Tensor:
    """The sum that the toolbox descends."""
    return sum(value for name, value in losses.items() if "loss" in name)


def load(name: str) -> Config:
    return Config.fromfile(CONFIGS / f"{name}.py")
