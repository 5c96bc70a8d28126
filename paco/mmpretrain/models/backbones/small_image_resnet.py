"""The residual network of CIFAR papers, for images of 32 x 32 pixels or so."""

import torch
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["SmallImageResNet"]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the parameter-free shortcut (option A) of He et al., 2016."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.stride = stride
        self.new_channels = out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        # ReLU is in place: on a CPU a fresh activation costs as much as what is computed into it.
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        if self.new_channels:
            before = self.new_channels // 2
            x = F.avg_pool2d(x, kernel_size=1, stride=self.stride)
            x = F.pad(x, (0, 0, 0, 0, before, self.new_channels - before))
        out += x
        return F.relu(out, inplace=True)


@MODELS.register_module()
class SmallImageResNet(BaseBackbone):
    """ResNet in the form of its authors' CIFAR experiments: 16-32-64 channels, 6n + 2 layers.

    The toolbox's ``ResNet_CIFAR`` is another: the ImageNet form with a small stem.
    `Deep Residual Learning for Image Recognition <https://arxiv.org/abs/1512.03385>`_, sec. 4.2.

    Args:
        depth (int): 6n + 2; the papers use 20, 32, 44, 56.
        in_channels (int): Channels of the image. Defaults to 3.
        init_cfg (dict | list[dict], optional): Initialisation. Defaults to He's, by
            fan-in, for convolutions, as in the codes of long-tailed CIFAR.

    The output is a tuple of one feature map, [N, 64, H/4, W/4].
    """

    def __init__(
        self,
        depth: int,
        in_channels: int = 3,
        init_cfg: dict | list | None = dict(  # noqa: B006
            type="Kaiming", layer="Conv2d", mode="fan_in"
        ),
    ) -> None:
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"SmallImageResNet: depth must be 6n + 2 with n >= 1, got {depth}")
        super().__init__(init_cfg)
        self.conv1 = nn.Conv2d(in_channels, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._make_stage(16, 16, depth // 6, stride=1)
        self.layer2 = self._make_stage(16, 32, depth // 6, stride=2)
        self.layer3 = self._make_stage(32, 64, depth // 6, stride=2)

    @staticmethod
    def _make_stage(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
        first = BasicBlock(in_channels, out_channels, stride)
        rest = (BasicBlock(out_channels, out_channels, 1) for _ in range(blocks - 1))
        return nn.Sequential(first, *rest)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        # A CPU's convolutions would reorder a narrow [N, C, H, W] each time.
        x = x.contiguous(memory_format=torch.channels_last)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return (self.layer3(self.layer2(self.layer1(x))),)
