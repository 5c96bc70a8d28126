"""An encoder in PyTorch's fully_shard (FSDP2) trains with the loss of all processes."""

import copy

import torch
from helpers.shares import cut
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F

import paco

OPTIONS = dict(alpha=0.3, temperature=0.2)


def encoder_gradients(encoder: nn.Module, loss: Tensor) -> list[Tensor]:
    loss.backward()
    return [p.grad for p in encoder.parameters()]


def of_process(rank: int, encoder: nn.Module, images: list[Tensor], labels: list[Tensor]) -> list:
    encoder = copy.deepcopy(encoder)
    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    for layer in encoder:
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh)
    fully_shard(encoder, mesh=mesh)
    features = F.normalize(encoder(images[rank]), dim=1)
    loss = paco.distributed.paco_loss(features, labels[rank], **OPTIONS)
    return [grad.full_tensor() for grad in encoder_gradients(encoder, loss)]


def test_gradients_of_a_fully_sharded_encoder_are_those_of_one_process(rng, on_two_processes):
    encoder = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5)).double()
    images, labels = torch.randn(9, 4).double(), torch.randint(3, (9,))
    sizes = cut(rng, 9, 2)
    loss = paco.paco_loss(F.normalize(encoder(images), dim=1), labels, **OPTIONS)
    expected = encoder_gradients(encoder, loss)
    encoder.zero_grad()
    for gradients in on_two_processes(
        of_process, encoder, images.split(sizes), labels.split(sizes)
    ):
        for actual, gradient in zip(gradients, expected, strict=True):
            torch.testing.assert_close(actual, gradient, rtol=1e-10, atol=1e-12)
