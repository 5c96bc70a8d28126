"""Random problems for the operators, and how their results are compared.

A problem is the keyword arguments of one call, the same for the operators and for paco.reference.
"""

import os
import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

SEED = int(os.environ.get("PACO_TEST_SEED", random.SystemRandom().randrange(10**9)))

Problem = dict[str, Any]


def unit_rows(num_rows: int, dim: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return F.normalize(torch.randn(num_rows, dim, dtype=torch.float64), dim=1).to(dtype)


def draw_loss(rng: random.Random, dtype: torch.dtype = torch.float64, **fixed: Any) -> Problem:
    """Arguments of paco_loss. ``fixed`` takes the place of what would be drawn.

    Sizes are rows (M), anchors (A), dim (D), classes (C), queue (K, None for no queue) and valid
    (n, None for a queue without queue_size); centers says whether there are center logits, and
    weighted whether anchors have weights. Everything else in ``fixed`` is an argument itself.
    """

    def choose(name: str, draw: Callable[[], Any]) -> Any:
        return fixed.pop(name) if name in fixed else draw()

    rows = choose("rows", lambda: rng.randint(1, 40))
    anchors = choose("anchors", lambda: rng.choice([rows, rng.randint(1, rows)]))
    dim = choose("dim", lambda: rng.randint(1, 70))
    classes = choose("classes", lambda: rng.randint(1, 12))
    queue = choose("queue", lambda: rng.choice([None, rng.randint(1, 200)]))
    valid = choose("valid", lambda: rng.choice([None, rng.randint(0, queue or 0)]))
    centers = choose("centers", lambda: rng.random() < 0.75)
    weighted = choose("weighted", lambda: rng.random() < 0.3)

    problem: Problem = {
        "features": unit_rows(rows, dim, dtype),
        "labels": torch.randint(classes, (rows,)),
        "num_anchors": anchors,
        "alpha": 10 ** rng.uniform(-2, 0.3),
        "beta": rng.choice([1.0, rng.uniform(0.1, 2)]),
        "gamma": rng.choice([1.0, rng.uniform(0.1, 2)]),
        "temperature": 10 ** rng.uniform(-1.3, 0),
    }
    if centers:
        problem["center_logits"] = (3 * torch.randn(anchors, classes)).to(dtype)
        if not fixed.keys() & {"alpha", "beta", "gamma"}:  # Not two zeros at once.
            problem.update(rng.choice([{}, {}, {}, {"alpha": 0.0}, {"beta": 0.0}, {"gamma": 0.0}]))
        if classes > 1:
            problem["label_smoothing"] = rng.choice([0.0, rng.uniform(0, 0.5)])
    if queue is not None:
        problem["queue"] = unit_rows(queue, dim, dtype)
        problem["queue_labels"] = torch.randint(classes, (queue,))
        if valid is not None:
            problem["queue_size"] = torch.tensor(rng.choice([valid, [valid]]))
            # Rows that are not valid must not matter, whatever they hold.
            problem["queue"][valid:] = float("nan")
            problem["queue_labels"][valid:] = rng.choice([-1, 0])
    if weighted:
        problem["anchor_weight"] = torch.rand(anchors).to(dtype)
        problem["anchor_weight"][rng.randrange(anchors)] = 0
    if rng.random() < 0.5:
        problem["base_temperature"] = problem["temperature"] * rng.uniform(0.5, 2)
    return {**problem, **fixed}


def cast(problem: Problem, dtype: torch.dtype) -> Problem:
    """The same values in another floating dtype."""
    return {
        name: value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
        for name, value in problem.items()
    }


def with_gradients(problem: Problem) -> Problem:
    """The problem with fresh leaves for what the loss is differentiated by."""
    leaves = {
        name: problem[name].detach().clone().requires_grad_()
        for name in ("features", "center_logits")
        if name in problem
    }
    return {**problem, **leaves}


def value_and_gradients(function: Callable[..., Tensor], problem: Problem) -> dict[str, Tensor]:
    """The loss, and its gradient for each of features and center_logits in the problem."""
    problem = with_gradients(problem)
    loss = function(**problem)
    leaves = {name: problem[name] for name in ("features", "center_logits") if name in problem}
    gradients = torch.autograd.grad(loss, leaves.values())
    return {"loss": loss.detach(), **dict(zip(leaves, gradients, strict=True))}


def natural_scales(problem: Problem) -> dict[str, float]:
    """What the loss and its gradients are multiples of: below it, differences are rounding."""
    temperature = problem["temperature"]
    base_temperature = problem.get("base_temperature") or temperature
    return {
        "loss": temperature / base_temperature,
        "features": 1 / (base_temperature * problem["num_anchors"]),
        "center_logits": temperature / (base_temperature * problem["num_anchors"]),
    }


def assert_results_close(
    actual: dict[str, Tensor],
    expected: dict[str, Tensor],
    problem: Problem,
    tolerance: float,
    share: float = 0.25,
) -> None:
    """Errors relative to the largest entry, or to a share of the natural scale if that is more."""
    assert actual.keys() == expected.keys()
    for name, scale in natural_scales(problem).items():
        if name in expected:
            largest = expected[name].abs().max().item()
            error = (actual[name].double() - expected[name].double()).abs().max().item()
            # A loss near 0 is a difference of terms up to 1 / T, which float32 rounds.
            assert error <= tolerance * max(largest, share * scale), (
                f"{name} is off by {error:g}, where the largest entry is {largest:g}"
            )


def identical(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """The same names with the same bits."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
