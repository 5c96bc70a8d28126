"""The two halves of the loss, over columns in several shares, here all in one process."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from helpers.bcl_problems import EDGES as BCL_EDGES
from helpers.bcl_problems import draw_bcl
from helpers.composite import composite_forms
from helpers.problems import (
    EDGES,
    assert_results_close,
    cast,
    draw_loss,
    on,
    value_and_gradients,
)
from helpers.shares import put_together, share_out
from torch import Tensor

from paco import reference

OPS = ("paco_loss_partial", "paco_loss_combine", "paco_loss_partial_backward")


@pytest.fixture(params=["kernels", "composite"])
def form(request: pytest.FixtureRequest) -> Iterator[str]:
    """The kernels of the CPU, and what devices without kernels have in their place."""
    if request.param == "kernels":
        yield request.param
        return
    with composite_forms(*OPS):
        yield request.param


def options_of(share: dict[str, Any], *names: str) -> dict[str, Any]:
    defaults = dict(beta=1.0, gamma=1.0, base_temperature=None, label_smoothing=0.0)
    return {name: share.get(name, defaults.get(name)) for name in names}


def class_share(problem: dict, rank: int, processes: int) -> dict[str, Any]:
    """Center logits and soft targets of all anchors, and a share of the classes."""
    logits = problem["center_logits"]
    classes = torch.arange(logits.size(1)).tensor_split(processes)[rank]
    first, last = int(classes[0]), int(classes[-1]) + 1
    targets = problem.get("soft_targets")
    return dict(
        center_logits=logits[:, first:last],
        soft_targets=None if targets is None else targets[:, first:last],
        first_class=first,
        num_classes=logits.size(1),
    )


def solve(
    problem: dict, shares: list[dict], by_class: bool, class_counts: Tensor | None = None
) -> list[dict[str, Tensor]]:
    """Loss and gradients of every process."""
    processes = len(shares)
    sizes = [share["num_anchors"] for share in shares]
    anchors, labels = problem["features"][: sum(sizes)], problem["labels"][: sum(sizes)]
    calls, records = [], []
    for rank, share in enumerate(shares):
        first = sum(sizes[:rank])
        rows = torch.full((sum(sizes),), -1, device=labels.device)
        rows[first : first + sizes[rank]] = torch.arange(sizes[rank], device=labels.device)
        call = dict(
            anchors=anchors,
            anchor_labels=labels,
            anchor_rows=rows,
            features=share["features"],
            labels=share["labels"],
            center_logits=share.get("center_logits"),
            soft_targets=share.get("soft_targets"),
            first_class=0,
            num_classes=None,
            class_counts=class_counts,
        )
        if by_class:
            call |= class_share(problem, rank, processes)
        calls.append(call)
        queue = {name: share.get(name) for name in ("queue", "queue_labels", "num_valid")}
        options = options_of(share, "gamma", "label_smoothing", "alpha", "temperature")
        records.append(
            torch.ops.paco.paco_loss_partial(**call, **queue, **options, features_grad=True)
        )
    beta = problem.get("beta", 1.0) if "center_logits" in problem else 0.0
    states, results = [], []
    for rank, share in enumerate(shares):
        own = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
        options = options_of(share, "gamma", "base_temperature", "alpha", "temperature")
        states.append(
            torch.ops.paco.paco_loss_combine(
                torch.stack([sums[own] for sums, _ in records]),
                torch.stack([rows[own] for _, rows in records]),
                share["features"][: sizes[rank]],
                share.get("anchor_weight"),
                beta=beta,
                **options,
            )
        )
        results.append({"loss": states[-1][0].sum() * processes / sum(sizes)})
    log_partition = torch.cat([state[1] for state in states])
    pair_weight = torch.cat([state[2] for state in states])
    weight = problem.get("anchor_weight", torch.ones(sum(sizes), device=pair_weight.device))
    for call, state, share, result in zip(calls, states, shares, results, strict=True):
        names = ("gamma", "base_temperature", "label_smoothing", "alpha", "temperature")
        result["features"], result["center_logits"] = torch.ops.paco.paco_loss_partial_backward(
            grad_losses=weight.to(pair_weight.dtype) * processes / sum(sizes),
            **call,
            log_partition=log_partition,
            pair_weight=pair_weight,
            anchor_grad=state[3],
            beta=beta,
            **options_of(share, *names),
            features_grad=True,
            center_logits_grad="center_logits" in problem,
        )
    if by_class:  # whole in one piece each, and so without the mean of put_together
        logits = torch.cat([r["center_logits"] for r in results], 1)
        for result, part in zip(results, logits.split(sizes), strict=True):
            result["center_logits"] = part
    return results


def assert_shares_make_the_loss(rng, problem: dict, by_class: bool) -> None:
    processes = rng.randint(2, 4)
    if by_class:
        processes = min(processes, problem["center_logits"].size(1))
    shares = share_out(rng, problem, processes)
    actual = put_together(problem, shares, solve(problem, shares, by_class))
    expected = value_and_gradients(reference.paco_loss, cast(problem, torch.float64))
    tolerance = 1e-10 if problem["features"].dtype == torch.float64 else 1e-5
    assert_results_close(actual, expected, problem, tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", range(10))
def test_shares_of_rows_and_queue_make_the_loss(rng, form, dtype, case):
    assert_shares_make_the_loss(rng, draw_loss(rng, dtype), by_class=False)


@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES.keys())
def test_edge(rng, form, edge):
    problem = draw_loss(rng, torch.float64, **edge)
    by_class = "center_logits" in problem and rng.random() < 0.5
    assert_shares_make_the_loss(rng, problem, by_class)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("soft", [False, True])
def test_shares_of_classes_make_the_loss(rng, form, dtype, soft):
    problem = draw_loss(rng, dtype, centers=True, classes=rng.randint(2, 40), soft=soft)
    assert_shares_make_the_loss(rng, problem, by_class=True)


@pytest.mark.parametrize("name", ["features", "queue", "center_logits"])
def test_a_bad_number_of_one_share_gives_nan(rng, form, name):
    problem = draw_loss(rng, torch.float32, rows=9, anchors=6, queue=5, valid=5, centers=True)
    problem["gamma"] = rng.choice([0.0, 1.0])
    problem[name][rng.randrange(len(problem[name])), 0] = float("nan")
    shares = share_out(rng, problem, 3)
    assert put_together(problem, shares, solve(problem, shares, False))["loss"].isnan()


TOLERANCES = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 2e-2}


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("balanced", [False, True])
def test_shares_on_a_device_make_the_loss(rng, device, dtype, balanced):
    counts = None
    if balanced:
        drawn = draw_bcl(rng, dtype, rows=70, queue=300, classes=6, dim=40)
        problem = as_paco(drawn)
        counts = problem.pop("class_counts").to(device)
        expected = value_and_gradients(reference.bcl_loss, cast(drawn, torch.float64))
        expected["features"] = torch.cat([expected["features"], expected.pop("prototypes")])
    else:
        problem = draw_loss(rng, dtype, rows=90, anchors=70, queue=300, centers=True, dim=40)
        expected = value_and_gradients(reference.paco_loss, cast(problem, torch.float64))
    shares = [on(device, share) for share in share_out(rng, problem, 3)]
    results = solve(on(device, problem), shares, False, counts)
    actual = on(torch.device("cpu"), put_together(problem, shares, results))
    assert_results_close(actual, expected, problem, TOLERANCES[dtype])


def as_paco(problem: dict) -> dict:
    """A problem of bcl_loss as one of these operators: prototypes are rows, and no anchors."""
    rows, classes = len(problem["features"]), len(problem["prototypes"])
    labels = torch.cat([problem["labels"], torch.arange(classes)])
    counts = labels.bincount(minlength=classes)
    if "queue" in problem:
        valid = int(problem.get("num_valid", len(problem["queue"])))
        counts += problem["queue_labels"][:valid].bincount(minlength=classes)
    return {
        **{name: value for name, value in problem.items() if name != "prototypes"},
        "features": torch.cat([problem["features"], problem["prototypes"]]),
        "labels": labels,
        "num_anchors": rows,
        "alpha": 1.0,
        "class_counts": counts,
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("edge", BCL_EDGES.values(), ids=BCL_EDGES.keys())
def test_shares_make_the_loss_of_bcl(rng, form, dtype, edge):
    problem = draw_bcl(rng, dtype, **edge)
    paco_problem = as_paco(problem)
    counts = paco_problem.pop("class_counts")
    shares = share_out(rng, paco_problem, rng.randint(1, 4))
    actual = put_together(paco_problem, shares, solve(paco_problem, shares, False, counts))
    expected = value_and_gradients(reference.bcl_loss, cast(problem, torch.float64))
    expected["features"] = torch.cat([expected["features"], expected.pop("prototypes")])
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    assert_results_close(actual, expected, paco_problem, tolerance)


def partial_call(rng, **changes: Any) -> dict[str, Any]:
    problem = draw_loss(rng, rows=6, anchors=4, dim=5, classes=3, centers=True, soft=False)
    call = dict(
        anchors=problem["features"][:4],
        anchor_labels=problem["labels"][:4],
        anchor_rows=torch.tensor([0, -1, 1, -1]),
        features=problem["features"],
        labels=problem["labels"],
        center_logits=problem["center_logits"][:2],
        queue=None,
        queue_labels=None,
        num_valid=None,
        first_class=0,
        num_classes=None,
        gamma=1.0,
        label_smoothing=0.0,
        soft_targets=None,
        alpha=0.5,
        temperature=0.2,
        features_grad=True,
    )
    return call | changes


BAD = {
    "anchors of another width": (dict(anchors=torch.randn(4, 6).double()), "anchors must be"),
    "no anchors": (dict(anchors=torch.randn(0, 5).double()), "anchors must be"),
    "a row beyond the features": (
        dict(anchor_rows=torch.tensor([0, 1, 6, -1])),
        "anchor_rows must lie",
    ),
    "a row twice": (dict(anchor_rows=torch.tensor([0, 1, 1, -1])), "anchor_rows must name"),
    "an anchor without logits": (dict(anchor_rows=torch.tensor([0, 1, 2, -1])), "center_logits"),
    "logits without anchor": (dict(anchor_rows=torch.tensor([0, -1, -1, -1])), "center_logits"),
    "a class beyond the last": (
        dict(center_logits=torch.randn(4, 2).double(), first_class=2, num_classes=3),
        "classes below num_classes 3",
    ),
    "an anchor of no class": (dict(anchor_labels=torch.tensor([0, 1, 3, 1])), "anchor_labels"),
    "a class share without num_classes": (dict(first_class=1), "first_class"),
    "class counts beside centers": (
        dict(class_counts=torch.ones(3, dtype=torch.int64)),
        "class_counts must be left out",
    ),
    "class counts of another dtype": (
        dict(center_logits=None, class_counts=torch.ones(3)),
        "class_counts must be int64",
    ),
    "float labels": (dict(anchor_labels=torch.zeros(4)), "anchor_labels must be int64"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input(rng, form, changes, message):
    with pytest.raises((ValueError, RuntimeError), match=message):
        torch.ops.paco.paco_loss_partial(**partial_call(rng, **changes))


def test_opcheck(rng):
    problem = draw_loss(rng, rows=12, anchors=8, queue=20, valid=15, centers=True, weighted=True)
    shares = share_out(rng, problem, 2)
    call = partial_call(rng)
    torch.library.opcheck(torch.ops.paco.paco_loss_partial.default, (), call)
    sums, rows = torch.ops.paco.paco_loss_partial(**call)
    state = dict(
        sums=sums[None],
        rows=rows[None],
        anchors=call["anchors"],
        anchor_weight=None,
        beta=1.0,
        gamma=1.0,
        base_temperature=None,
        alpha=0.5,
        temperature=0.2,
    )
    torch.library.opcheck(torch.ops.paco.paco_loss_combine.default, (), state)
    assert len(solve(problem, shares, False)) == 2


def test_a_derivative_of_a_half_alone_is_an_error(rng):
    call = partial_call(rng)
    call["features"].requires_grad_()
    _, rows = torch.ops.paco.paco_loss_partial(**call)
    with pytest.raises(RuntimeError, match="not implemented"):
        rows.sum().backward()
