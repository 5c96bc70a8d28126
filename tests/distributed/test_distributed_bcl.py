"""BCL of several processes is that of one on the joined batch."""

import copy
import re
from typing import Any

import pytest
import torch
from helpers.bcl_problems import draw_bcl
from helpers.problems import assert_results_close, cast, unit_rows, value_and_gradients
from helpers.shares import cut, put_together, share_out
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

import paco
from paco import reference
from paco.distributed import ShardedFeatureQueue, bcl_loss, exclude_from_ddp
from paco.nn import BCLLoss, FeatureQueue

KINDS: dict[str, dict[str, Any]] = {
    "as published": dict(rows=24, classes=6, queue=None),
    "partial queue": dict(rows=20, classes=8, queue=60, valid=41),
    "fewer classes than processes": dict(rows=9, classes=1, queue=None),
    "long tail": dict(rows=30, classes=40, queue=300, valid=None, tail=4.0),
    "one row": dict(rows=1, classes=5),
    "anything": {},
}


def solve_each(rank: int, cases: list[list[dict]]) -> list[dict[str, Tensor]]:
    return [value_and_gradients(bcl_loss, shares[rank]) for shares in cases]


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_and_gradients_are_those_of_one_process(rng, request, processes, dtype):
    run = request.getfixturevalue(f"on_{'two' if processes == 2 else 'three'}_processes")
    problems = [draw_bcl(rng, dtype, **kind) for kind in KINDS.values()]
    cases = [share_out(rng, problem, processes) for problem in problems]
    results = run(solve_each, cases)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-6
    for kind, problem, shares, *each in zip(KINDS, problems, cases, *results, strict=True):
        expected = value_and_gradients(reference.bcl_loss, cast(problem, torch.float64))
        print(kind)
        assert_results_close(put_together(problem, shares, each), expected, problem, tolerance)


def solve_compiled(rank: int, shares: list[dict]) -> list[dict[str, Tensor]]:
    sizes = [len(share["features"]) for share in shares]

    @torch.compile(fullgraph=True, backend="aot_eager")
    def compiled(**arguments: Any) -> Tensor:
        return bcl_loss(**arguments, rows_per_process=sizes)

    return [value_and_gradients(f, shares[rank]) for f in (bcl_loss, compiled)]


def test_compiled_is_eager(rng, on_two_processes):
    problem = draw_bcl(rng, **KINDS["partial queue"])
    for eager, compiled in on_two_processes(solve_compiled, share_out(rng, problem, 2)):
        assert all(torch.equal(eager[name], compiled[name]) for name in eager)


def errors_of(rank: int, calls: list[list[dict]]) -> list[str]:
    messages = []
    for call in calls:
        try:
            bcl_loss(**call[rank])
            messages.append("")
        except ValueError as error:
            messages.append(str(error))
    return messages


def test_calls_that_do_not_fit_are_an_error_everywhere(on_two_processes):
    def call(**changes: Any) -> dict[str, Any]:
        rows, prototypes = unit_rows(3, 4), unit_rows(2, 4)
        labels = torch.tensor([0, 1, 1])
        return dict(features=rows, labels=labels, prototypes=prototypes, temperature=0.1) | changes

    none = dict(features=torch.empty(0, 4).double(), labels=torch.empty(0, dtype=torch.int64))
    queue = dict(queue=unit_rows(2, 4), queue_labels=torch.tensor([0, 7]))
    pairs = {
        r"prototypes must be the same.*\[2, 4\] on process 0.*\[3, 4\] on process 1": (
            call(),
            call(prototypes=unit_rows(3, 4)),
        ),
        "temperature must be the same": (call(), call(temperature=0.2)),
        "on process 1, .*prototypes must be": (call(), call(prototypes=unit_rows(2, 5))),
        r"on process 0, labels must lie in \[0, C\), got 2 at 1 with C = 2": (
            call(labels=torch.tensor([0, 2, 1])),
            call(),
        ),
        r"on process 1, queue_labels must lie in \[0, C\), got 7": (call(), call(**queue)),
        "features have no rows on any process": (call(**none), call(**none)),
        "the gradient to features or prototypes": (
            call(),
            call(prototypes=unit_rows(2, 4).requires_grad_()),
        ),
    }
    for messages in on_two_processes(errors_of, list(pairs.values())):
        for expected, message in zip(pairs, messages, strict=True):
            assert re.search(expected, message), f"{expected!r} is not in {message!r}"


def test_one_process_needs_no_group(rng):
    problem = draw_bcl(rng)
    assert torch.equal(bcl_loss(**problem), paco.bcl_loss(**problem))


CLASSES, DIM, SIZE = 5, 4, 120


class Model(nn.Module):
    """Encoder, prototypes of a classifier's weights, and past rows."""

    def __init__(self, dtype: torch.dtype, is_global: bool) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, DIM))
        self.weight = nn.Parameter(torch.randn(CLASSES, 6))
        self.projector = nn.Linear(6, DIM)
        queue_type = ShardedFeatureQueue if is_global else FeatureQueue
        self.queue = queue_type(SIZE, DIM)
        bcl = BCLLoss(0.2)
        self.loss = bcl.across_processes if is_global else bcl
        self.to(dtype)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        features = F.normalize(self.encoder(images), dim=1)
        prototypes = F.normalize(self.projector(self.weight), dim=1)
        queue = self.queue
        rows = queue.features.clone(), queue.labels.clone(), queue.num_valid.clone()
        loss = self.loss(features, labels, prototypes, *rows)
        queue.enqueue(features.detach(), labels)
        return loss


def train(model: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
    losses = []
    for batch in batches:
        loss = model(*batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    return [torch.stack(losses), *(p.detach() for p in model.parameters())]


def train_process(rank: int, cases: list[tuple]) -> list[list[Tensor]]:
    results = []
    for state, batches, sizes in cases:
        model = Model(batches[0][0].dtype, is_global=True)
        model.load_state_dict(state)
        exclude_from_ddp(model)
        own = [
            tuple(x.split(split)[rank] for x in batch)
            for batch, split in zip(batches, sizes, strict=True)
        ]
        results.append(train(DistributedDataParallel(model), own))
    return results


@pytest.mark.parametrize("processes", [2, 3])
def test_training_is_that_of_one_process(rng, request, processes):
    run = request.getfixturevalue(f"on_{'two' if processes == 2 else 'three'}_processes")
    cases, models = [], []
    for dtype in (torch.float32, torch.float64):
        models.append(Model(dtype, is_global=False))
        batches, sizes = [], []
        for _ in range(4):
            n = rng.randint(3, 10)
            sizes.append(cut(rng, n, processes))
            batches.append((torch.randn(n, 3, dtype=dtype), torch.randint(CLASSES, (n,))))
        cases.append((copy.deepcopy(models[-1].state_dict()), batches, sizes))
    each = run(train_process, cases)
    for model, (_, batches, _), *results in zip(models, cases, *each, strict=True):
        losses, *weights = train(model, batches)
        tolerance = 1e-10 if losses.dtype == torch.float64 else 1e-6
        mean = torch.stack([result[0] for result in results]).mean(0)
        torch.testing.assert_close(mean, losses, rtol=tolerance, atol=tolerance)
        for result in results:
            for actual, expected in zip(result[1:], weights, strict=True):
                torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)
