"""An encoder in PyTorch's fully_shard (FSDP2) trains with the loss of all processes."""

import copy

import torch
from helpers.shares import cut
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from paco.distributed import ShardedClassCenters, ShardedFeatureQueue
from paco.nn import ClassCenters, FeatureQueue, PaCoLoss, TrainingStep

WIDTH, CLASSES, SIZE = 5, 4, 60


def new_step(shared: bool) -> TrainingStep:
    queue = (ShardedFeatureQueue if shared else FeatureQueue)(SIZE, WIDTH, torch.float64)
    centers = (ShardedClassCenters if shared else ClassCenters)(WIDTH, CLASSES).double()
    contrast = "global" if shared else "local"
    return TrainingStep(PaCoLoss(0.3, 0.2), queue, centers, contrast=contrast)


def train(encoder: nn.Module, step: TrainingStep, batches: list[tuple[Tensor, Tensor]]) -> None:
    """GPaCo of two views: an image, and the same with its sign changed."""
    parameters = [*encoder.parameters(), *step.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    for images, labels in batches:
        pooled = encoder(torch.cat([images, -images]))
        first, second = pooled[: len(images)], pooled[len(images) :]
        step(first, second, pooled, labels).backward()
        optimizer.step()
        optimizer.zero_grad()


def of_process(
    rank: int, encoder: nn.Module, state: dict, batches: list, sizes: list[list[int]]
) -> tuple[list[Tensor], Tensor]:
    encoder = copy.deepcopy(encoder)
    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    for layer in encoder:
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh)
    fully_shard(encoder, mesh=mesh)
    step = new_step(shared=True)  # its shares need no wrapper
    step.load_state_dict(state)
    own = [
        tuple(x.split(split)[rank] for x in batch)
        for batch, split in zip(batches, sizes, strict=True)
    ]
    train(encoder, step, own)
    return [p.full_tensor().detach() for p in encoder.parameters()], step.centers.weight.detach()


def test_a_fully_sharded_encoder_is_that_of_one_process(rng, on_two_processes):
    encoder = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, WIDTH)).double()
    step = new_step(shared=False)
    state = copy.deepcopy(step.state_dict())
    batches = [(torch.randn(7, 4).double(), torch.randint(CLASSES, (7,))) for _ in range(3)]
    sizes = [cut(rng, 7, 2) for _ in batches]
    results = on_two_processes(of_process, encoder, state, batches, sizes)
    train(encoder, step, batches)
    close(torch.cat([centers for _, centers in results]), step.centers.weight)
    for weights, _ in results:
        for actual, expected in zip(weights, encoder.parameters(), strict=True):
            close(actual, expected)


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected.detach(), rtol=1e-10, atol=1e-11)
