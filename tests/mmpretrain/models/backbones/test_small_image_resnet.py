import pytest
import torch
from mmpretrain.registry import MODELS

from paco.mmpretrain import SmallImageResNet
from paco.mmpretrain.models.backbones.small_image_resnet import BasicBlock


# He et al., table 6: parameters in millions, with the classifier of ten classes.
@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85)])
def test_parameters_are_those_of_the_paper(depth, millions):
    model = MODELS.build(dict(type="SmallImageResNet", depth=depth))
    assert isinstance(model, SmallImageResNet)
    total = sum(p.numel() for p in model.parameters()) + 64 * 10 + 10
    assert round(total / 1e6, 2) == millions
    assert sum(m.kernel_size == (3, 3) for m in convolutions(model)) == depth - 1
    assert len(convolutions(model)) == depth - 1


def convolutions(model: torch.nn.Module) -> list[torch.nn.Conv2d]:
    return [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]


def test_the_feature_map_has_64_channels_and_a_quarter_of_the_size():
    (features,) = SmallImageResNet(20, in_channels=2)(torch.randn(3, 2, 24, 16))
    assert features.shape == (3, 64, 6, 4)


def test_a_shortcut_subsamples_and_pads_with_zero_channels():
    block = BasicBlock(4, 8, stride=2)
    torch.nn.init.zeros_(block.bn2.weight)
    x = torch.randn(2, 4, 6, 6)
    expected = torch.zeros(2, 8, 3, 3)
    expected[:, 2:6] = x[:, :, ::2, ::2].clamp(min=0)
    assert torch.equal(block(x), expected)


def test_a_block_adds_its_input():
    block = BasicBlock(4, 4, stride=1).eval()
    x = torch.randn(2, 4, 6, 6)
    residual = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x)))))
    torch.testing.assert_close(block(x), torch.relu(x + residual))


def test_memory_format_does_not_change_the_result():
    model = SmallImageResNet(8)
    model.eval()
    x = torch.randn(2, 3, 8, 8)
    stem = torch.relu(model.bn1(model.conv1(x)))
    torch.testing.assert_close(model(x)[0], model.layer3(model.layer2(model.layer1(stem))))


@pytest.mark.parametrize("depth", [2, 18, 33])
def test_a_depth_that_is_not_6n_plus_2_is_an_error(depth):
    with pytest.raises(ValueError, match=f"6n \\+ 2.*{depth}"):
        SmallImageResNet(depth)
