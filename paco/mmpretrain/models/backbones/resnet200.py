"""The ResNet of 200 layers, which the toolbox lacks."""

from mmpretrain.models.backbones.resnet import Bottleneck, ResNet
from mmpretrain.registry import MODELS

__all__ = ["ResNet200"]


@MODELS.register_module()
class ResNet200(ResNet):
    """The toolbox's ``ResNet`` in a depth of 200.

    `He et al., ECCV 2016 <https://arxiv.org/abs/1603.05027>`_, who add 16 blocks to the second
    stage of ResNet-152.

    Args:
        **kwargs: Passed to :class:`mmpretrain.models.ResNet`, but for ``depth``.
    """

    arch_settings = {200: (Bottleneck, (3, 24, 36, 3))}  # noqa: RUF012

    def __init__(self, **kwargs) -> None:
        super().__init__(depth=200, **kwargs)
