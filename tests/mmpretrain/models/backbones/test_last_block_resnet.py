import copy

import torch
from mmpretrain.registry import MODELS
from torch import nn

CONFIG = dict(type="LastBlockResNet", depth=50, stem_channels=4, base_channels=4)


def test_what_trains_and_what_does_not():
    backbone = MODELS.build(CONFIG)
    backbone.train()
    convolutions = {
        name: p.requires_grad
        for name, m in backbone.named_modules()
        if isinstance(m, nn.Conv2d)
        for p in m.parameters()
    }
    assert len(convolutions) == 53
    assert {name for name, trained in convolutions.items() if trained} == {
        f"layer4.2.conv{i}" for i in (1, 2, 3)
    }
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(m.training and m.weight.requires_grad and m.bias.requires_grad for m in norms)

    before = copy.deepcopy(backbone.state_dict())
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.1, weight_decay=0.1)
    backbone(torch.randn(2, 3, 32, 32))[0].square().sum().backward()
    optimizer.step()
    for name, value in backbone.state_dict().items():
        frozen = convolutions.get(name.removesuffix(".weight")) is False
        assert torch.equal(value, before[name]) == frozen, name


def test_a_copy_without_gradients_stays_so():
    """PaCo's key encoder is one."""
    backbone = copy.deepcopy(MODELS.build(CONFIG))
    backbone.requires_grad_(False)
    backbone.train()
    assert not any(p.requires_grad for p in backbone.parameters())
