"""Three convolutions, for images as small as the digits."""

from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.registry import MODELS
from torch import Tensor, nn

__all__ = ["SmallConvNet"]


@MODELS.register_module()
class SmallConvNet(BaseBackbone):
    """3x3 convolutions of 32, 64 and 128 channels with BatchNorm and ReLU; the last two halve.

    Args:
        in_channels (int): Channels of the image.

    The output is a tuple of one feature map, [N, 128, H/4, W/4].
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for out_channels, stride in ((32, 1), (64, 2), (128, 2)):
            layers += [
                nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False),
                nn.BatchNorm2d(out_channels),
                nn.ReLU(inplace=True),
            ]
            in_channels = out_channels
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.layers(x),)
