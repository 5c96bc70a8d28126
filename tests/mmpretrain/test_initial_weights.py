"""Recipes start from the published initial weights."""

import math

import pytest
from helpers.digits_runs import CONFIGS
from mmengine.config import Config
from mmpretrain.registry import MODELS
from torch import nn


def published_deviation(module: nn.Module, kaiming: str | None) -> float:
    """By Kaiming's rule, of the inputs or the outputs; without one nn.Linear's own, uniform."""
    fan_in = module.weight[0].numel()
    if kaiming is None:
        return 1 / math.sqrt(3 * fan_in)
    return math.sqrt(2 / (fan_in if kaiming == "in" else module.weight[:, 0].numel()))


# The networks for CIFAR draw every layer of their own by the inputs, the last of which became the
# projector's; torchvision's their convolutions by the outputs.
@pytest.mark.parametrize(
    ("recipe", "convolutions", "kaiming_linear"),
    [
        ("cifar100_lt/paco_if100", "in", "head.projector.3.weight"),
        ("cifar100_lt/gpaco_if100", "in", "head.projector.4.weight"),
        ("cifar100_lt/ce_if100", "in", None),
        ("imagenet_lt/paco_r50", "out", None),
        ("imagenet_lt/gpaco_x50", "out", None),
    ],
)
def test_weights_deviate_as_published(recipe, convolutions, kaiming_linear):
    model = MODELS.build(Config.fromfile(CONFIGS / f"{recipe}.py").model)
    model.init_weights()
    parameters = {
        name: parameter.detach()
        for name, parameter in model.named_parameters()
        if not name.startswith("key_encoder.")  # a copy
    }
    assert kaiming_linear is None or kaiming_linear in parameters
    for name, parameter in parameters.items():
        owner, _, kind = name.rpartition(".")
        module = model.get_submodule(owner)
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert (parameter == (kind == "weight")).all(), name
            continue
        kaiming = convolutions if isinstance(module, nn.Conv2d) else None
        deviation = published_deviation(module, "in" if name == kaiming_linear else kaiming)
        # Five standard errors, of a normal sample.
        error = 5 / math.sqrt(parameter.numel())
        assert parameter.std(correction=0).item() == pytest.approx(deviation, rel=error), name
        assert abs(parameter.mean().item()) < error * deviation, name
