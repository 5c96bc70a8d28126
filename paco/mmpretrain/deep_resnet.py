"""The ResNet of 200 layers, which the toolbox lacks."""

from mmpretrain.models.backbones.resnet import Bottleneck, ResNet
from mmpretrain.registry import MODELS

__all__ = ["DeepResNet"]


@MODELS.register_module()
class DeepResNet(ResNet):
    """The toolbox's ``ResNet``, of depth 200 as well.

    `He et al., ECCV 2016 <https://arxiv.org/abs/1603.05027>`_, who add 16 blocks to the second
    stage of ResNet-152. The arguments are those of :class:`mmpretrain.models.ResNet`.
    """

    arch_settings = {**ResNet.arch_settings, 200: (Bottleneck, (3, 24, 36, 3))}  # noqa: RUF012
