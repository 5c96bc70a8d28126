"""The projection from pooled features to the space of the contrastive pairs."""

from mmcv.cnn import build_activation_layer
from mmengine.model import Sequential
from mmpretrain.registry import MODELS
from torch import nn

__all__ = ["Projector"]


@MODELS.register_module()
class Projector(Sequential):
    """Linear layers of the input's width, each activated, and a last one to ``out_channels``.

    Args:
        in_channels (int): Width of the pooled features.
        out_channels (int): Width of a contrastive feature, D.
        num_layers (int): Number of Linear layers, at least 1; 2 in PaCo, 3 in GPaCo.
        norm (bool): BatchNorm before each activation; PaCo has it, GPaCo has not.
        act_cfg (dict): The activation. Defaults to ReLU; GPaCo's vision transformers have GELU.
        kaiming_last (bool): Draw the last layer's weights by He's method, by fan-in, as the code of
            long-tailed CIFAR does. All else is torch's initialisation. Defaults to False.
        init_cfg (dict | list[dict], optional): Initialisation. Defaults to torch's.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_layers: int,
        norm: bool,
        act_cfg: dict = dict(type="ReLU", inplace=True),  # noqa: B006
        kaiming_last: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        if num_layers < 1:
            raise ValueError(f"Projector: num_layers must be at least 1, got {num_layers}")
        layers: list[nn.Module] = []
        for _ in range(num_layers - 1):
            layers.append(nn.Linear(in_channels, in_channels))
            if norm:
                layers.append(nn.BatchNorm1d(in_channels))
            layers.append(build_activation_layer(act_cfg))
        last = nn.Linear(in_channels, out_channels)
        if kaiming_last:
            nn.init.kaiming_normal_(last.weight)
        super().__init__(*layers, last, init_cfg=init_cfg)
