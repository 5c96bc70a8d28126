"""What PaCo adds to a segmentor while it trains: projector, loss and, as an option, a queue."""

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule, Sequential
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from paco.distributed import gather_rows
from paco.nn import FeatureQueue, PixelPaCoLoss

__all__ = ["PixelContrast"]

MODELS.register_module(module=PixelPaCoLoss)


@MODELS.register_module()
class PixelContrast(BaseModule):
    """GPaCo's contrast of the pixels of a decode head (GPaCo, TPAMI 2023, sec. 4.4).

    The projector is two 1x1 convolutions of the head's width with norm and activation, and a last
    one to ``feat_channels``.

    Args:
        in_channels (int): Width of the decode head's features.
        loss (dict): ``dict(type='PixelPaCoLoss', alpha=..., temperature=...)``.
        feat_channels (int): Width of a contrastive feature, D. Defaults to 128.
        loss_weight (float): Factor of the loss. Defaults to 1.
        queue_size (int): Pixels of past images that are contrast too, K; there are none in the
            paper. Defaults to 0.
        queue_pixels (int): How many pixels of each image enter the queue, drawn at random.
            Defaults to 256.
        conv_cfg (dict, optional): The convolutions of ConvModule. Defaults to None.
        norm_cfg (dict, optional): Norm of the projector. Defaults to BatchNorm.
        act_cfg (dict, optional): Activation of the projector. Defaults to ReLU.
        init_cfg (dict | list[dict], optional): Initialisation. Defaults to the layers' own.

    Raises:
        ValueError: For a size below 1.
    """

    def __init__(
        self,
        in_channels: int,
        loss: dict,
        feat_channels: int = 128,
        loss_weight: float = 1.0,
        queue_size: int = 0,
        queue_pixels: int = 256,
        conv_cfg: dict | None = None,
        norm_cfg: dict | None = dict(type="BN"),  # noqa: B006
        act_cfg: dict | None = dict(type="ReLU"),  # noqa: B006
        init_cfg: dict | Sequence[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        for name, value in (("feat_channels", feat_channels), ("queue_pixels", queue_pixels)):
            if value < 1:
                raise ValueError(f"PixelContrast: {name} must be at least 1, got {value}")
        options = dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg, act_cfg=act_cfg, inplace=False)
        self.projector = Sequential(
            ConvModule(in_channels, in_channels, 1, **options),
            ConvModule(in_channels, in_channels, 1, **options),
            nn.Conv2d(in_channels, feat_channels, 1),
        )
        self.loss_module = MODELS.build(loss)
        self.loss_weight = loss_weight
        self.queue_pixels = queue_pixels
        self.queue = FeatureQueue(queue_size, feat_channels) if queue_size else None

    def forward(self, features: Tensor, seg_logits: Tensor, labels: Tensor) -> Tensor:
        """The weighted loss of a batch, whose pixels enter the queue afterwards.

        Args:
            features: [N, in_channels, H, W], what the decode head classifies.
            seg_logits: [N, C, H, W], the head's logits of them.
            labels: int64 [N, H', W'], in [0, C) or the loss's ``ignore_index``.

        Returns:
            A scalar.
        """
        embeddings = self.projector(features)
        if self.queue is None:
            return self.loss_weight * self.loss_module(embeddings, seg_logits, labels)
        loss = self.loss_module(
            embeddings,
            seg_logits,
            labels,
            self.queue.features,
            self.queue.labels,
            self.queue.num_valid,
        )
        self._enqueue(embeddings.detach(), self.loss_module.classes(labels, seg_logits))
        return self.loss_weight * loss

    @torch.no_grad()
    def _enqueue(self, embeddings: Tensor, classes: Tensor) -> None:
        keys, key_classes = [], []
        for image, image_classes in zip(embeddings, classes.flatten(1), strict=True):
            pixels = torch.randperm(image_classes.numel(), device=image_classes.device)
            pixels = pixels[: self.queue_pixels]
            keys.append(image.flatten(1)[:, pixels].t())
            key_classes.append(image_classes[pixels])
        rows = F.normalize(torch.cat(keys).to(self.queue.features.dtype), dim=1)
        self.queue.enqueue(*gather_rows(rows, torch.cat(key_classes)))
