"""A compiled step of several processes is the eager one: it is given the sizes of the batches."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from paco.distributed import ShardedClassCenters, ShardedFeatureQueue
from paco.nn import ClassCenters, FeatureQueue, PaCoLoss, TrainingStep

WIDTH, DIM, CLASSES, SIZE = 6, 5, 7, 40
SIZES = [3, 5]

KINDS: dict[str, dict[str, Any]] = {
    "global": dict(contrast="global"),
    "global, shared out": dict(contrast="global", shared=True),
    "local": dict(contrast="local"),
}


def new_step(contrast: str, shared: bool = False) -> TrainingStep:
    queue = (ShardedFeatureQueue if shared else FeatureQueue)(SIZE, DIM)
    centers = (ShardedClassCenters if shared else ClassCenters)(WIDTH, CLASSES)
    centers.set_class_counts(torch.arange(CLASSES) + 1)
    return TrainingStep(PaCoLoss(0.1, 0.2), queue, centers, contrast=contrast)


def solve(step: TrainingStep, call: Any, batches: list[tuple[Tensor, ...]]) -> list[Tensor]:
    """Losses and gradients of steps, and the state that they leave."""
    results = []
    for batch in batches:
        queries, keys, pooled = (x.clone().requires_grad_() for x in batch[:3])
        loss = call(queries, keys, pooled, batch[3])
        parameters = list(step.parameters())
        results += [loss.detach(), *torch.autograd.grad(loss, [queries, pooled, *parameters])]
    return [*results, *step.state_dict().values()]


def of_process(rank: int, kind: dict[str, Any], batches: list) -> tuple[list[Tensor], list[Tensor]]:
    torch.manual_seed(rank if kind.get("shared") else 0)
    eager = new_step(**kind)
    step = copy.deepcopy(eager)

    @torch.compile(fullgraph=True, backend="aot_eager")
    def compiled(*batch: Tensor) -> Tensor:
        return step(*batch, images_per_process=SIZES)

    own = [tuple(x.split(SIZES)[rank] for x in batch) for batch in batches]
    return solve(eager, eager, own), solve(step, compiled, own)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_compiled_is_eager(on_two_processes, kind):
    n = sum(SIZES)
    batches = [
        (torch.randn(n, DIM), torch.randn(n, DIM), torch.randn(n, WIDTH), torch.arange(n) % CLASSES)
        for _ in range(2)
    ]
    for eager, compiled in on_two_processes(of_process, kind, batches):
        assert len(eager) == len(compiled)
        for a, b in zip(eager, compiled, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_sizes_have_to_be_those_of_the_batch():
    step = new_step("global")
    batch = torch.randn(2, DIM), torch.randn(2, DIM), torch.randn(2, WIDTH), torch.arange(2)
    step(*batch, images_per_process=[2])
    with pytest.raises(ValueError, match="images_per_process must be 2 on process 0"):
        step(*batch, images_per_process=[3])
    with pytest.raises(ValueError, match="images_per_process must have 1 entries"):
        step(*batch, images_per_process=[2, 2])
