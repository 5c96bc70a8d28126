import pytest
import torch
from mmpretrain.registry import MODELS
from torch import nn


def test_paco_s_projector():
    projector = MODELS.build(
        dict(type="Projector", in_channels=7, out_channels=3, num_layers=2, norm=True)
    )
    assert [type(m) for m in projector] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert projector[0].weight.shape == (7, 7)
    assert projector(torch.randn(4, 7)).shape == (4, 3)


def test_gpaco_s_projector():
    projector = MODELS.build(
        dict(type="Projector", in_channels=7, out_channels=3, num_layers=3, norm=False)
    )
    assert [type(m) for m in projector] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert projector(torch.randn(4, 7)).shape == (4, 3)


def test_the_activation_is_a_setting():
    projector = MODELS.build(
        dict(
            type="Projector",
            in_channels=7,
            out_channels=3,
            num_layers=3,
            norm=False,
            act_cfg=dict(type="GELU"),
        )
    )
    assert [type(m) for m in projector] == [nn.Linear, nn.GELU, nn.Linear, nn.GELU, nn.Linear]
    assert projector(torch.randn(4, 7)).shape == (4, 3)


def test_hidden_layers_may_have_a_width_of_their_own():
    projector = MODELS.build(
        dict(
            type="Projector",
            in_channels=7,
            out_channels=3,
            num_layers=3,
            norm=True,
            hidden_channels=11,
        )
    )
    linear = [tuple(m.weight.shape) for m in projector if isinstance(m, nn.Linear)]
    assert linear == [(11, 7), (11, 11), (3, 11)]
    assert projector(torch.randn(4, 7)).shape == (4, 3)


@pytest.mark.parametrize("num_layers", [0, -1])
def test_no_layer_is_an_error(num_layers):
    config = dict(type="Projector", in_channels=7, out_channels=3, norm=True)
    with pytest.raises(ValueError, match=f"num_layers must be at least 1, got {num_layers}"):
        MODELS.build(dict(num_layers=num_layers, **config))
