"""The loss of several processes is that of one on the joined batch."""

import contextlib
import os
import re
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from helpers.problems import (
    assert_results_close,
    cast,
    draw_loss,
    unit_rows,
    value_and_gradients,
)
from helpers.processes import processes
from helpers.shares import put_together, share_out

import paco
from paco import reference

KINDS: dict[str, dict[str, Any]] = {
    "PaCo": dict(rows=24, anchors=12, queue=40, valid=30, classes=6, centers=True),
    "GPaCo": dict(rows=20, anchors=20, queue=30, valid=None, classes=6, centers=True),
    "SupCon": dict(centers=False, alpha=1.0, gamma=1.0, classes=4, rows=16, anchors=16),
    "soft targets and weights": dict(centers=True, classes=7, soft=True, weighted=True),
    "keys without a gradient": dict(rows=24, anchors=12, queue=40, centers=True, detach_keys=True),
    "one anchor": dict(anchors=1, rows=9, centers=True),
    "balanced softmax": dict(centers=True, alpha=0.0, gamma=0.0, classes=5),
    "anything": {},
}


def solve_each(rank: int, cases: list[list[dict]]) -> list[dict[str, torch.Tensor]]:
    return [value_and_gradients(paco.distributed.paco_loss, shares[rank]) for shares in cases]


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_and_gradients_are_those_of_one_process(rng, request, processes, dtype):
    run = request.getfixturevalue(f"on_{'two' if processes == 2 else 'three'}_processes")
    problems = [draw_loss(rng, dtype, **kind) for kind in KINDS.values()]
    cases = [share_out(rng, problem, processes) for problem in problems]
    results = run(solve_each, cases)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-6
    for kind, problem, shares, *each in zip(KINDS, problems, cases, *results, strict=True):
        expected = value_and_gradients(reference.paco_loss, cast(problem, torch.float64))
        print(kind)
        assert_results_close(put_together(problem, shares, each), expected, problem, tolerance)


def solve_compiled(rank: int, shares: list[dict]) -> list[dict[str, torch.Tensor]]:
    share = shares[rank]
    sizes = [share["num_anchors"] for share in shares]

    @torch.compile(fullgraph=True, backend="aot_eager")
    def compiled(**arguments: Any) -> torch.Tensor:
        return paco.distributed.paco_loss(**arguments, anchors_per_process=sizes)

    return [value_and_gradients(f, share) for f in (paco.distributed.paco_loss, compiled)]


def test_compiled_is_eager(rng, on_two_processes):
    problem = draw_loss(rng, torch.float64, **KINDS["PaCo"])
    for eager, compiled in on_two_processes(solve_compiled, share_out(rng, problem, 2)):
        assert all(torch.equal(eager[name], compiled[name]) for name in eager)


def centers_alone(rank: int, shares: list[dict]) -> list[torch.Tensor]:
    share = shares[rank]
    logits = share["center_logits"].requires_grad_()
    loss = paco.distributed.paco_loss(**share)
    with torch.no_grad():
        again = paco.distributed.paco_loss(**share)
    return [torch.autograd.grad(loss, logits)[0] / 2, loss.detach(), again]


def test_gradient_of_the_centers_alone(rng, on_two_processes):
    problem = draw_loss(rng, torch.float64, **KINDS["PaCo"])
    gradients, losses, again = zip(
        *on_two_processes(centers_alone, share_out(rng, problem, 2)), strict=True
    )
    expected = value_and_gradients(reference.paco_loss, problem)["center_logits"]
    torch.testing.assert_close(torch.cat(gradients), expected, rtol=1e-10, atol=1e-12)
    assert losses == again


def solve_twice(rank: int, shares: list[dict]) -> list[torch.Tensor]:
    one, two = (
        torch.autograd.grad(
            paco.distributed.paco_loss(**share | {"features": x}), x, create_graph=True
        )[0]
        for share in [shares[rank]]
        for x in [share["features"].requires_grad_()] * 2
    )
    try:
        one.sum().backward()
    except RuntimeError as error:
        return [one.detach(), two.detach(), torch.tensor("not implemented" in str(error))]
    return []


def test_bits_are_the_same_and_a_second_derivative_is_an_error(rng, on_two_processes):
    problem = draw_loss(rng, torch.float32, **KINDS["GPaCo"])
    for one, two, refused in on_two_processes(solve_twice, share_out(rng, problem, 2)):
        assert torch.equal(one, two)
        assert refused


def errors_of(rank: int, calls: list[list[dict]]) -> list[str]:
    messages = []
    for call in calls:
        try:
            paco.distributed.paco_loss(**call[rank])
            messages.append("")
        except ValueError as error:
            messages.append(str(error))
    return messages


def test_calls_that_do_not_fit_are_an_error_everywhere(on_two_processes):
    labels = torch.tensor([0, 1, 1])

    def call(**changes: Any) -> dict[str, Any]:
        rows = unit_rows(3, 4, torch.float32)
        return dict(features=rows, labels=labels, alpha=1.0, temperature=0.1) | changes

    none = torch.empty(0, dtype=torch.int64)
    logits, four = torch.zeros(3, 2), torch.tensor(4)
    pairs = {
        "the dtype of features.*float32 on process 0; torch.float64 on process 1": (
            call(),
            call(features=unit_rows(3, 4)),
        ),
        "the width D of features": (call(), call(features=unit_rows(3, 5, torch.float32))),
        "temperature must be.*0.1 on process 0; 0.2 on process 1": (call(), call(temperature=0.2)),
        "alpha must be the same": (call(), call(alpha=0.5)),
        "center_logits must be the same.*none on process 1": (call(center_logits=logits), call()),
        r"center_logits must be the same.*\[A, 2\].*\[A, 3\]": (
            call(center_logits=logits),
            call(center_logits=torch.zeros(3, 3)),
        ),
        "the gradient to features.*wanted on process 0; not wanted on process 1": (
            call(features=unit_rows(3, 4, torch.float32).requires_grad_()),
            call(),
        ),
        "on process 1, .*labels must have one entry": (call(), call(labels=labels[:2])),
        r"on process 1, labels must lie in \[0, C\), got -1 at 2": (
            call(),
            call(labels=torch.tensor([0, 1, -1])),
        ),
        "on process 0, labels must lie.*got 2 at 1 with C = 2": (
            call(center_logits=logits, labels=torch.tensor([0, 2, 1])),
            call(center_logits=logits),
        ),
        "on process 1, num_valid must lie between 0 and the rows of queue, 3, got 4": (
            call(),
            call(queue=unit_rows(3, 4, torch.float32), queue_labels=labels, num_valid=four),
        ),
        "on process 1, anchor_weight must be >= 0, got -1": (
            call(),
            call(anchor_weight=torch.tensor([1.0, 0, -1])),
        ),
        "on process 0, soft_targets must have rows that sum to 1": (
            call(center_logits=logits, soft_targets=torch.ones(3, 2)),
            call(center_logits=logits),
        ),
        "on process 0, .*num_anchors must lie": (call(num_anchors=4), call()),
        "on process 1, .*temperature must be finite": (call(), call(temperature=0.0)),
        "num_anchors is 0 on every process": (
            call(features=torch.empty(0, 4), labels=none),
            call(num_anchors=0),
        ),
        "num_classes.*row for each of the 6 anchors.*got 3 on process 1": (
            call(center_logits=torch.zeros(6, 2), num_classes=3),
            call(center_logits=torch.zeros(3, 1), num_classes=3),
        ),
        "on process 1, center_logits must be.*share of num_classes 3": (
            call(center_logits=torch.zeros(6, 2), num_classes=3),
            call(center_logits=torch.zeros(6, 2), num_classes=3),
        ),
    }
    for messages in on_two_processes(errors_of, list(pairs.values())):
        for expected, message in zip(pairs, messages, strict=True):
            assert re.search(expected, message), f"{expected!r} is not in {message!r}"


def lose(rank: int, share: dict, how: str, report: Path) -> None:
    for step in range(2):
        if rank == 1 and step == 1:
            if how == "dies":
                os._exit(1)
            time.sleep(12)
            return
        try:
            paco.distributed.paco_loss(**share)
        except RuntimeError as error:
            report.write_text(str(error))


@pytest.mark.parametrize("how", ["dies", "does not answer"])
def test_a_process_that_is_lost_ends_the_others_with_a_sentence(rng, how, tmp_path):
    share = draw_loss(rng, torch.float32, **KINDS["SupCon"])
    report = tmp_path / "report"
    with (
        contextlib.suppress(BrokenProcessPool),
        processes(tmp_path / "rendezvous", 2, seconds=6) as call,
    ):
        call(lose, share, how, report)
    assert "process 0 of 2 waits for another in vain" in report.read_text()


def within_a_group(rank: int, shares: list[dict]) -> dict[str, torch.Tensor] | None:
    group = dist.new_group([0, 2])
    if rank == 1:
        return None
    return value_and_gradients(
        paco.distributed.paco_loss, shares[0 if rank == 0 else 1] | {"group": group}
    )


def test_a_group_of_some_processes(rng, on_three_processes):
    problem = draw_loss(rng, torch.float64, **KINDS["PaCo"])
    shares = share_out(rng, problem, 2)
    first, _, second = on_three_processes(within_a_group, shares)
    expected = value_and_gradients(reference.paco_loss, problem)
    actual = put_together(problem, shares, [first, second])
    assert_results_close(actual, expected, problem, 1e-10)
