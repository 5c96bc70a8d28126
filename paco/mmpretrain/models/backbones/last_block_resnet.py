"""The ResNet that fine-tunes its last convolutions only."""

from mmpretrain.models import ResNet
from mmpretrain.registry import MODELS
from torch import nn

__all__ = ["LastBlockResNet"]


@MODELS.register_module()
class LastBlockResNet(ResNet):
    """A ``ResNet`` whose convolutions are frozen, except for those of the last block of layer4.

    PaCo fine-tunes this on Places-LT. BatchNorm trains everywhere. (The toolbox's
    ``frozen_stages`` freezes whole stages and their BatchNorm.) The arguments are those of
    :class:`mmpretrain.models.ResNet`.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        trained = set(getattr(self, self.res_layers[-1])[-1].modules())
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module not in trained:
                module.requires_grad_(False)
