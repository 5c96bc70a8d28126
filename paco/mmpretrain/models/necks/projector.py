"""The projection from pooled features to the space of the contrastive pairs."""

from mmcv.cnn import build_activation_layer
from mmengine.model import Sequential
from mmpretrain.registry import MODELS
from torch import nn

__all__ = ["Projector"]


@MODELS.register_module()
class Projector(Sequential):
    """Linear layers of one width, each activated, and a last one to ``out_channels``.

    Args:
        in_channels (int): Width of the pooled features.
        out_channels (int): Width of a contrastive feature, D.
        num_layers (int): Number of Linear layers, at least 1; 2 in PaCo, 3 in GPaCo.
        norm (bool): BatchNorm before each activation; PaCo has it, GPaCo has not.
        act_cfg (dict): The activation. Defaults to ReLU; GPaCo's vision transformers have GELU.
        hidden_channels (int, optional): Width of all layers but the last; the input's by default.
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
        hidden_channels: int | None = None,
        kaiming_last: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        if num_layers < 1:
            raise ValueError(f"Projector: num_layers must be at least 1, got {num_layers}")
        layers: list[nn.Module] = []
        width = in_channels
        for _ in range(num_layers - 1):
            hidden = in_channels if hidden_channels is None else hidden_channels
            layers.append(nn.Linear(width, hidden))
            if norm:
                layers.append(nn.BatchNorm1d(hidden))
            layers.append(build_activation_layer(act_cfg))
            width = hidden
        last = nn.Linear(width, out_channels)
        if kaiming_last:
            nn.init.kaiming_normal_(last.weight)
        super().__init__(*layers, last, init_cfg=init_cfg)
