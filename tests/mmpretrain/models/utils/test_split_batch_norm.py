import copy

import pytest
import torch
from torch import nn

from paco.mmpretrain.models.utils.split_batch_norm import SplitBatchNorm

SHAPES = [(6,), (6, 3, 2)]


def split_norm(group_size: int = 4) -> SplitBatchNorm:
    norm = SplitBatchNorm(6, group_size)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def plain(norm: SplitBatchNorm, shape: tuple[int, ...]) -> nn.Module:
    twin = nn.BatchNorm1d(6) if len(shape) == 1 else nn.BatchNorm2d(6)
    twin.load_state_dict(norm.state_dict())
    return twin


@pytest.mark.parametrize("shape", SHAPES, ids=["rows", "images"])
@pytest.mark.parametrize(
    ("batch", "groups"), [(8, [4, 4]), (10, [4, 4, 2]), (9, [4, 3, 2]), (4, [4]), (3, [3])], ids=str
)
def test_each_group_is_normalised_as_by_a_process_of_its_own(shape, batch, groups):
    norm = split_norm()
    processes = [plain(norm, shape) for _ in groups]
    x = torch.randn(batch, *shape, requires_grad=True)
    grad = torch.randn(batch, *shape)
    parts = zip(processes, x.split(groups), strict=True)
    expected = torch.cat([process(part) for process, part in parts])
    inputs = [x, norm.weight, norm.bias]
    actual = norm(x)
    torch.testing.assert_close(actual, expected)
    x_grad, *parameter_grads = torch.autograd.grad(actual, inputs, grad)
    torch.testing.assert_close(x_grad, torch.autograd.grad(expected, x, grad, True)[0])
    for name, value in zip(("weight", "bias"), parameter_grads, strict=True):
        of_processes = [getattr(process, name) for process in processes]
        total = sum(torch.autograd.grad(expected, of_processes, grad, True))
        torch.testing.assert_close(value, total)
    for name in ("running_mean", "running_var"):
        mean = torch.stack([getattr(process, name) for process in processes]).mean(0)
        torch.testing.assert_close(getattr(norm, name), mean)
    assert norm.num_batches_tracked == 1


@pytest.mark.parametrize("shape", SHAPES, ids=["rows", "images"])
def test_in_inference_it_is_batch_norm(shape):
    norm = split_norm()
    norm(torch.randn(9, *shape))
    x = torch.randn(11, *shape)
    assert torch.equal(norm.eval()(x), plain(norm, shape).eval()(x))


def test_a_converted_network_shares_the_tensors_and_the_state_names():
    network = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6), nn.Sequential(nn.BatchNorm2d(6, eps=0.1))
    )
    before = copy.deepcopy(network.state_dict())
    tensors = list(network.parameters()) + list(network.buffers())
    split = SplitBatchNorm.convert(network, 4)
    assert split.state_dict().keys() == before.keys()
    same = zip(tensors, list(split.parameters()) + list(split.buffers()), strict=True)
    assert all(a is b for a, b in same)
    assert split[2][0].eps == 0.1
    assert sum(isinstance(module, SplitBatchNorm) for module in split.modules()) == 2
    x = torch.randn(8, 3, 5, 5)
    halves = [copy.deepcopy(split)(half) for half in x.split(4)]
    torch.testing.assert_close(split(x), torch.cat(halves))


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"SplitBatchNorm: group_size must be at least 2, got 1"):
        SplitBatchNorm(6, 1)
    with pytest.raises(ValueError, match=r"SplitBatchNorm: x must be \[N, C, \.\.\.\], got \(5,\)"):
        split_norm()(torch.randn(5))
