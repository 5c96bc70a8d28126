"""Several processes train, contrasted as one, as one does on the joined batches.

Loss, gradients and weights, with momentum encoder, optimizer, accumulation and clipping.
"""

import copy
from typing import Any

import pytest
import torch
from helpers.shares import cut
from torch import Tensor, nn
from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler
from torch.nn.parallel import DistributedDataParallel

from paco.distributed import (
    ShardedClassCenters,
    ShardedFeatureQueue,
    clip_grad_norm_,
    exclude_from_ddp,
    full_state_dict,
)
from paco.nn import ClassCenters, FeatureQueue, MomentumEncoder, PaCoLoss, TrainingStep

WIDTH, DIM, CLASSES, STEPS = 6, 5, 7, 5
BATCH = 4  # images at most, of all processes
SIZE = 3 * STEPS * BATCH  # three shares; each holds all keys, should one process get them all


class Model(nn.Module):
    """Encoder, projector and step; with a momentum PaCo, without GPaCo."""

    def __init__(self, step: TrainingStep, momentum: float | None) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, WIDTH))
        self.projector = nn.Linear(WIDTH, DIM)
        self.step = step
        self.key_encoder = None
        if momentum is not None:
            self.key_encoder = MomentumEncoder(self.queries(), momentum)

    def queries(self) -> nn.Module:
        return nn.Sequential(self.encoder, self.projector)

    def forward(self, first: Tensor, second: Tensor, labels: Tensor) -> Tensor:
        pooled = self.encoder(first)
        if self.key_encoder is not None:
            self.key_encoder.update(self.queries())
            return self.step(self.projector(pooled), self.key_encoder(second), pooled, labels)
        keys = self.encoder(second)
        both = torch.cat([pooled, keys])
        return self.step(self.projector(pooled), self.projector(keys), both, labels)


def new_model(settings: dict[str, Any], contrast: str) -> Model:
    loss = PaCoLoss(**settings["loss"])
    is_global = contrast == "global"
    queue_type = ShardedFeatureQueue if is_global and settings["shard_queue"] else FeatureQueue
    centers_type = ShardedClassCenters if is_global and settings["shard_centers"] else ClassCenters
    queue = queue_type(SIZE, DIM, settings["dtype"])
    centers = centers_type(WIDTH, CLASSES)
    centers.set_class_counts(torch.arange(CLASSES) + 1)
    step = TrainingStep(loss, queue, centers, contrast=contrast)
    return Model(step, settings["momentum"]).to(settings["dtype"])


def train(model: nn.Module, batches: list, shares: list[Tensor] | None) -> dict[str, Any]:
    """Two batches make a step of the optimizer; ``shares`` is None for one process."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.2, momentum=0.9, weight_decay=1e-3)
    losses, norms = [], []
    for i, batch in enumerate(batches):
        loss = model(*batch)
        (loss / 2).backward()
        losses.append(loss.detach())
        if i % 2 == 1:
            if shares is None:
                norms.append(nn.utils.clip_grad_norm_(parameters, 0.1))
            else:
                norms.append(clip_grad_norm_(parameters, shares, 0.1))
            optimizer.step()
            optimizer.zero_grad()
    # The gradient of the last batch is left.
    return dict(losses=torch.stack(losses), norms=torch.stack(norms))


def of_processes(rank: int, cases: list[tuple]) -> list[dict[str, Any]]:
    results = []
    for settings, state, batches, sizes in cases:
        torch.manual_seed(1)
        model = new_model(settings, "global")
        model.load_state_dict(state)
        exclude_from_ddp(model)
        shares = list(model.step.centers.parameters()) if settings["shard_centers"] else []
        own = [
            tuple(x.split(split)[rank] for x in batch)
            for batch, split in zip(batches, sizes, strict=True)
        ]
        result = train(DistributedDataParallel(model), own, shares)
        whole = full_state_dict(model)
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        results.append({**result, "whole": whole, "gradients": gradients})
    return results


KINDS: dict[str, dict[str, Any]] = {
    "PaCo": dict(momentum=0.9, loss=dict(alpha=0.1, temperature=0.2)),
    "GPaCo": dict(momentum=None, loss=dict(alpha=0.1, temperature=0.2, label_smoothing=0.1)),
    "SupCon": dict(momentum=0.9, loss=dict(alpha=1.0, beta=0.0, temperature=0.2)),
}


@pytest.mark.parametrize("processes", [2, 3])
def test_training_is_that_of_one_process(rng, request, processes):
    run = request.getfixturevalue(f"on_{'two' if processes == 2 else 'three'}_processes")
    cases = []
    for kind in KINDS.values():
        for dtype in (torch.float32, torch.float64):
            settings = dict(
                kind,
                dtype=dtype,
                shard_queue=rng.random() < 0.7,
                shard_centers=rng.random() < 0.7,
            )
            # The queue's shares are a part of one queue while that is not full.
            sizes, batches = [], []
            for _ in range(STEPS):
                n = rng.randint(2, BATCH)
                sizes.append(cut(rng, n, processes))
                views = torch.randn(2, n, 4, dtype=dtype)
                batches.append((*views, torch.randint(CLASSES, (n,))))
            cases.append((settings, new_model(settings, "local").state_dict(), batches, sizes))
    everyone = run(of_processes, cases)
    for case, results in zip(cases, zip(*everyone, strict=True), strict=True):
        settings, state, batches, _ = case
        alone = new_model(settings, "local")
        alone.load_state_dict(state)
        expected = train(alone, batches, None)
        tolerance = 1e-10 if settings["dtype"] == torch.float64 else 2e-6
        mean = torch.stack([result["losses"] for result in results]).mean(0)
        close(mean, expected["losses"], tolerance)
        for result in results:
            close(result["norms"], expected["norms"], tolerance)
        whole = results[0]["whole"]
        assert whole.keys() == alone.state_dict().keys()
        own = alone.state_dict()
        for state in (whole, own):  # a queue is a set of rows
            order = state["step.queue.features"][:, 0].argsort()
            for name in ("step.queue.features", "step.queue.labels"):
                state[name] = state[name][order]
        for name, value in own.items():
            close(whole[name], value, tolerance)
        gradients = {n: p.grad for n, p in alone.named_parameters() if p.grad is not None}
        # A bias has the sum over the batch, which may all but vanish beside what was added.
        largest = max(gradient.abs().max().item() for gradient in gradients.values())
        for name, gradient in gradients.items():
            parts = [result["gradients"][name] for result in results]
            if settings["shard_centers"] and name.startswith("step.centers"):
                parts = [torch.cat(parts)]
            for part in parts:
                close(part, gradient, tolerance, largest)


def close(actual: Tensor, expected: Tensor, tolerance: float, scale: float | None = None) -> None:
    """Within ``tolerance`` of ``scale``, by default the largest entry that is expected."""
    if scale is None:
        scale = max(expected.abs().max().item(), 1e-2)
    torch.testing.assert_close(actual.to(expected.dtype), expected, rtol=0, atol=tolerance * scale)


def overflow(rank: int) -> list[Tensor]:
    """Weights before and after a step for which one process finds an overflow in its centers."""
    torch.manual_seed(0)
    centers = ShardedClassCenters(WIDTH, CLASSES)
    optimizer = torch.optim.SGD(centers.parameters(), lr=1.0)
    scaler = ShardedGradScaler("cpu", process_group=torch.distributed.group.WORLD)
    weights = [centers.weight.detach().clone()]
    for share in (1.0, float("inf")):
        loss = centers(torch.randn(2, WIDTH)).sum() * (share if rank == 1 else 1.0)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        weights.append(centers.weight.detach().clone())
    return weights


def test_an_overflow_of_one_process_skips_the_step_on_all(on_two_processes):
    for before, stepped, skipped in on_two_processes(overflow):
        assert not torch.equal(before, stepped)
        assert torch.equal(stepped, skipped)


def reload(rank: int, state: dict[str, Tensor]) -> dict[str, Tensor] | None:
    queue = ShardedFeatureQueue(SIZE, DIM)
    queue.load_state_dict(state)
    # One key more, which takes the place of the oldest of its process.
    queue.enqueue(torch.full((1, DIM), float(rank)), torch.tensor([100 + rank]))
    whole = full_state_dict(nn.ModuleDict({"queue": queue}))
    assert (whole is None) == (rank > 0)
    return whole


@pytest.mark.parametrize("rows", [0, 10, SIZE, SIZE + 7])
def test_a_queue_is_dealt_out_and_put_together_again(on_three_processes, rows):
    queue = FeatureQueue(SIZE, DIM)
    queue.enqueue(torch.randn(rows, DIM), torch.arange(rows))
    whole, *_ = on_three_processes(reload, queue.state_dict())
    loaded = FeatureQueue(SIZE, DIM)
    loaded.load_state_dict({name.removeprefix("queue."): x for name, x in whole.items()})
    kept = list(range(max(0, rows + 3 - SIZE), rows)) if rows < SIZE else None
    n, labels = int(loaded.num_valid), loaded.labels.tolist()
    assert n == min(rows + 3, SIZE)
    assert labels[n - 3 : n] == [102, 101, 100]
    if kept is None:  # the oldest of each process are gone: the oldest three
        kept = list(range(rows - SIZE + 3, rows))
    assert labels[: n - 3] == kept
    newest = queue.features[torch.tensor([i % SIZE for i in kept], dtype=torch.int64)]
    assert torch.equal(loaded.features[: n - 3], newest)


def test_contrast_and_shares_have_to_fit():
    def step(queue: FeatureQueue, **options: Any) -> None:
        TrainingStep(copy.deepcopy(loss), queue, ClassCenters(WIDTH, CLASSES), **options)

    loss: nn.Module = PaCoLoss(0.1, 0.2)
    with pytest.raises(ValueError, match="contrast must be 'local' or 'global', got 'all'"):
        step(FeatureQueue(SIZE, DIM), contrast="all")
    with pytest.raises(ValueError, match="need contrast='global'"):
        step(ShardedFeatureQueue(SIZE, DIM))
    loss = nn.CrossEntropyLoss()
    with pytest.raises(ValueError, match="such as a PaCoLoss, got a CrossEntropyLoss"):
        step(FeatureQueue(SIZE, DIM), contrast="global")
