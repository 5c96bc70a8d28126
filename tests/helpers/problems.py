"""Random problems for the operators, and how their results are compared.

A problem is the keyword arguments of one call, the same for the operators and for paco.reference.
"""

import os
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

import paco
from paco import reference

SEED = int(os.environ.get("PACO_TEST_SEED", random.SystemRandom().randrange(10**9)))

Problem = dict[str, Any]

# Rows that are multiplied with one another, and what the losses are differentiated by.
ROWS = ("features", "prototypes", "queue")
LEAVES = ("features", "center_logits", "prototypes")

# Sizes and settings of paco_loss at which its kernels do something else: tiles of 32 or 64 columns
# and rows, rows that are not a multiple of 16 bytes, sums over several threads' tiles, widths that
# a GPU leaves to PyTorch's operators, terms that are not there.
EDGES: dict[str, dict[str, Any]] = {
    "one row": dict(rows=1, queue=None, centers=True),
    "one row and a queue": dict(rows=1, queue=33, valid=None),
    "one anchor of many rows": dict(rows=200, anchors=1),
    "every row an anchor": dict(rows=24, anchors=24),
    "queries and keys": dict(rows=48, anchors=24, queue=100, valid=60),
    "just a tile": dict(rows=64, anchors=64, queue=64, valid=None, dim=64),
    "just over a tile": dict(rows=65, anchors=65, queue=65, valid=65, dim=72),
    "one class": dict(classes=1, rows=150, queue=700, valid=None),
    "one class and centers": dict(classes=1, centers=True),
    "one dimension": dict(dim=1),
    "unaligned rows": dict(dim=33, rows=130, queue=300, valid=None),
    "empty queue": dict(queue=50, valid=0),
    "queue of one row": dict(queue=1),
    "queue longer than a tile": dict(queue=1500, valid=None),
    "queue of many odd tiles": dict(queue=9001, valid=None, rows=6, dim=5),
    "partial queue of many odd tiles": dict(queue=9001, valid=5003, rows=6, dim=5),
    "rows longer than a tile": dict(rows=4999, anchors=7, dim=3),
    "many anchors": dict(rows=600, anchors=500, dim=48, queue=700, valid=None),
    "many classes": dict(classes=9000, centers=True),
    "wide tile": dict(dim=128, rows=96, queue=500, valid=None),
    "widest tile": dict(dim=256, rows=96, queue=500, valid=None),
    "wider than any tile": dict(dim=257, rows=96, queue=500, valid=None),
    "no centers": dict(centers=False, classes=4),
    "no centers, no positives": dict(centers=False, rows=1, queue=None),
    "SupCon": dict(centers=False, alpha=1.0, gamma=1.0, classes=4, rows=32, anchors=32),
    "balanced softmax": dict(centers=True, alpha=0.0, gamma=0.0),
    "no pairs in the denominator": dict(centers=True, gamma=0.0, alpha=0.5, classes=2),
    "pairs far above a partition without them": dict(
        centers=True, gamma=0.0, alpha=0.5, classes=2, temperature=0.005, rows=40, dim=2
    ),
    "centers in the denominator only": dict(centers=True, beta=0.0, alpha=0.5, classes=2),
    "tiny gamma": dict(centers=True, gamma=1e-30),
    "label smoothing and weights": dict(
        centers=True, classes=9, label_smoothing=0.1, weighted=True
    ),
    "soft targets of many classes": dict(centers=True, classes=5000, rows=8, soft=True),
    "soft targets and weights": dict(centers=True, classes=9, soft=True, weighted=True),
    "soft targets of one class": dict(centers=True, classes=1, soft=True),
    "soft targets without weight": dict(centers=True, classes=3, soft=True, beta=0.0, alpha=0.5),
}


def unit_rows(num_rows: int, dim: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return F.normalize(torch.randn(num_rows, dim, dtype=torch.float64), dim=1).to(dtype)


def soft_targets(
    rng: random.Random, anchors: int, classes: int, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Rows of sum 1 for the dtype of the features: of two classes, as mixed images have, or all."""
    targets = torch.rand(anchors, classes, dtype=torch.float64)
    if rng.random() < 0.5:
        first, second = torch.randint(classes, (2, anchors))
        share = torch.rand(anchors, 1, dtype=torch.float64)
        targets = share * F.one_hot(first, classes) + (1 - share) * F.one_hot(second, classes)
    targets = targets / targets.sum(1, keepdim=True)
    return targets if dtype == torch.float64 else targets.float()


def draw_loss(rng: random.Random, dtype: torch.dtype = torch.float64, **fixed: Any) -> Problem:
    """Arguments of paco_loss. ``fixed`` takes the place of what would be drawn.

    Sizes are rows (M), anchors (A), dim (D), classes (C), queue (K, None for no queue) and valid
    (n, None for a queue without num_valid); centers says whether there are center logits, and
    weighted whether anchors have weights, and soft whether they have soft targets. Everything else
    in ``fixed`` is an argument itself.
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
    soft = choose("soft", lambda: rng.random() < 0.3 and "label_smoothing" not in fixed)

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
        if not fixed.keys() & {"alpha", "beta", "gamma"}:  # two zeros at once would be an error
            problem.update(rng.choice([{}, {}, {}, {"alpha": 0.0}, {"beta": 0.0}, {"gamma": 0.0}]))
        if classes > 1:
            problem["label_smoothing"] = rng.choice([0.0, rng.uniform(0, 0.5)])
        if soft:
            problem["label_smoothing"] = 0.0
            problem["soft_targets"] = soft_targets(rng, anchors, classes, dtype)
    if queue is not None:
        problem["queue"] = unit_rows(queue, dim, dtype)
        problem["queue_labels"] = torch.randint(classes, (queue,))
        if valid is not None:
            problem["num_valid"] = torch.tensor(rng.choice([valid, [valid]]))
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
        name: value.to(dtype)
        if isinstance(value, Tensor) and value.is_floating_point() and name != "soft_targets"
        else value
        for name, value in problem.items()
    }


def on(device: torch.device, problem: Problem) -> Problem:
    """The same problem on a device."""
    return {
        name: value.to(device) if isinstance(value, Tensor) else value
        for name, value in problem.items()
    }


def with_gradients(problem: Problem) -> Problem:
    """The problem with fresh leaves for what the loss is differentiated by."""
    leaves = {
        name: problem[name].detach().clone().requires_grad_() for name in LEAVES if name in problem
    }
    return {**problem, **leaves}


def losses_of(problem: Problem) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """The operator that the problem is for, and its definition."""
    name = "bcl_loss" if "prototypes" in problem else "paco_loss"
    if problem["labels"].dim() == 2:
        name = "multi_label_paco_loss"
    return getattr(paco, name), getattr(reference, name)


def value_and_gradients(function: Callable[..., Tensor], problem: Problem) -> dict[str, Tensor]:
    """The loss, and its gradient for each of LEAVES in the problem."""
    problem = with_gradients(problem)
    loss = function(**problem)
    leaves = {name: problem[name] for name in LEAVES if name in problem}
    gradients = torch.autograd.grad(loss, leaves.values())
    return {"loss": loss.detach(), **dict(zip(leaves, gradients, strict=True))}


def natural_scales(problem: Problem) -> dict[str, float]:
    """The usual sizes of loss and gradients: far below them, differences are rounding."""
    temperature = problem["temperature"]
    base_temperature = problem.get("base_temperature") or temperature
    anchors = problem.get("center_logits", problem["features"])
    num_anchors = problem.get("num_anchors") or anchors.size(0)
    return {
        "loss": temperature / base_temperature,
        "features": 1 / (base_temperature * num_anchors),
        "prototypes": 1 / (base_temperature * num_anchors),
        "center_logits": temperature / (base_temperature * num_anchors),
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


def assert_as_defined(problem: Problem, device: torch.device) -> None:
    """A loss and its gradients are the definition's in float64, as far as the dtype can tell.

    Sums are of float32. Gradients are rounded to 16 bits, and so are the exponentials that weigh
    rows where the processor multiplies 16-bit numbers itself.
    """
    operator, definition = losses_of(problem)
    actual = value_and_gradients(operator, on(device, problem))
    expected = value_and_gradients(definition, cast(problem, torch.float64))
    dtype = problem["features"].dtype
    for name, value in actual.items():
        of_loss = torch.promote_types(dtype, torch.float32)
        assert value.dtype == (of_loss if name == "loss" else problem[name].dtype)
        tolerance, share = 1e-10 if dtype == torch.float64 else 1e-5, 0.25
        if name != "loss" and value.dtype.itemsize == 2:
            tolerance = torch.finfo(dtype).eps
            if device.type == "cuda":
                tolerance *= 4 if dtype == torch.float16 else 2
            elif name != "center_logits":
                # Few rows, about as large as the natural scale together, cancel; errors do not.
                share = 1
        assert_results_close({name: value.cpu()}, {name: expected[name]}, problem, tolerance, share)


def class_of_many(dim: int) -> Problem:
    """Rows of one class beside a queue of 300,000 that are one and the same."""
    row = unit_rows(1, dim, torch.float32)
    return dict(
        features=torch.cat([unit_rows(3, dim, torch.float32), row]),
        labels=torch.zeros(4, dtype=torch.int64),
        queue=row.repeat(300_000, 1),
        queue_labels=torch.zeros(300_000, dtype=torch.int64),
        alpha=1.0,
        temperature=0.1,
    )


def rows_of_norm(norm: float, dtype: torch.dtype = torch.float32, **settings: Any) -> Problem:
    return dict(
        features=(norm * unit_rows(32, 16)).to(dtype),
        labels=torch.randint(5, (32,)),
        queue=(norm * unit_rows(200, 16)).to(dtype),
        queue_labels=torch.randint(5, (200,)),
        **{"alpha": 1.0, "temperature": 0.07, **settings},
    )


def lonely_anchors(beta: float, temperature: float = 0.1) -> Problem:
    """Anchors without and with positives, keys among them, where beta is small against alpha."""
    return dict(
        features=unit_rows(9, 16, torch.float32),
        labels=torch.tensor([0, 1, 2, 3, 4, 5, 5, 5, 4]),
        center_logits=torch.randn(7, 6),
        alpha=1.0,
        beta=beta,
        temperature=temperature,
    )


# Naive float32 gets these wrong: one logit rounded in several ways, an anchor's own row added and
# taken off again, sums of many numbers.
HARD: dict[str, Callable[[], Problem]] = {
    "normal rows times 1e4": lambda: dict(
        features=1e4 * torch.randn(6, 8),
        labels=torch.tensor([0, 1, 0, 1, 2, 2]),
        alpha=1.0,
        temperature=0.07,
    ),
    **{f"rows of norm {norm:g}": lambda n=norm: rows_of_norm(n) for norm in (1e-6, 30, 1e3, 1e4)},
    "temperature 1e-9": lambda: rows_of_norm(1, temperature=1e-9),
    "temperature 0.003": lambda: rows_of_norm(1, temperature=0.003),
    "temperature 1e9": lambda: rows_of_norm(1, temperature=1e9),
    "bfloat16 of norm 1e15": lambda: rows_of_norm(1e15, torch.bfloat16, temperature=10.0),
    "float16 of norm 100": lambda: rows_of_norm(100, torch.float16),
    "equal rows of norm 1e4": lambda: {
        **rows_of_norm(1e4),
        "features": (1e4 * unit_rows(1, 16)).float().repeat(32, 1),
    },
    "large center logits": lambda: {
        **rows_of_norm(1),
        "center_logits": 1e8 + 8 * torch.randint(3, (32, 5)).float(),
    },
    **{f"beta {beta:g}": lambda b=beta: lonely_anchors(b) for beta in (1e-3, 1e-6, 1e-8, 2e-38)},
    "a positive beside a row 1e5 times as long": lambda: {
        **lonely_anchors(1e-3),
        "features": unit_rows(9, 16, torch.float32) * torch.tensor([1, 1e-5] * 4 + [1])[:, None],
    },
    "alpha 1e-38": lambda: {**lonely_anchors(1.0), "alpha": 2e-38},
    "all but nothing of a weight": lambda: lonely_anchors(2e-38, temperature=1e-7),
    "alpha 1e30": lambda: {**lonely_anchors(1e-37), "alpha": 1e30},
    "gamma 1e-38": lambda: {**lonely_anchors(1.0), "gamma": 2e-38, "temperature": 0.003},
    "gamma 1e30": lambda: {**lonely_anchors(1.0), "gamma": 1e30},
    "300,000 equal rows of one class": lambda: class_of_many(32),
}


class Finding(NamedTuple):
    """How far one result is from the definition."""

    error: float  # the largest
    plain: float  # of plain torch in the dtype of the sums
    scale: float  # what is usual for an entry, or the largest one
    allowed: float


def measure(problem: Problem, device: torch.device) -> dict[str, Finding]:
    """A loss and its gradients beside plain torch, both against the definition in float64.

    Plain torch is the definition in the dtype of the sums, with the features in several orders,
    each of which rounds in its own way: the worst of them, four times, is how well the problem can
    be solved. Beside it, an error of rounding is allowed, of the loss relative to its logits.
    """
    features = problem["features"]
    dtype = features.dtype
    sums = torch.promote_types(dtype, torch.float32)
    operator, definition = losses_of(problem)
    expected = value_and_gradients(definition, cast(problem, torch.float64))
    actual = on(torch.device("cpu"), value_and_gradients(operator, on(device, problem)))
    plain_error = dict.fromkeys(expected, 0.0)
    for _ in range(3):
        order = torch.randperm(features.size(1))
        shuffled = {
            name: value[:, order] if name in ROWS else value for name, value in problem.items()
        }
        plain = value_and_gradients(definition, shuffled)
        for name, value in plain.items():
            value = value[:, order.argsort()] if name in ROWS else value
            plain_error[name] = max(plain_error[name], largest(value.double() - expected[name]))

    norm = max(
        largest(rows.double().norm(dim=1).nan_to_num(0))
        for rows in (problem[name] for name in ROWS if name in problem)
        if rows.numel() > 0
    )
    logit = norm**2 / problem["temperature"]
    if "center_logits" in problem:
        logit = max(logit, largest(problem["center_logits"].double()))
    anchors = problem.get("num_anchors") or problem.get("center_logits", features).size(0)
    scales = natural_scales({**problem, "num_anchors": anchors})
    for name in ("features", "prototypes"):
        scales[name] *= norm
    findings = {}
    for name, value in actual.items():
        rounding = 1e-5 if sums == torch.float32 else 1e-10
        if name == "loss" or sums == torch.float64:  # where the definition rounds as well
            rounding = max(rounding, 4 * torch.finfo(sums).eps * logit)
        else:
            rounding = max(rounding, 2 * torch.finfo(value.dtype).eps)
        weight = largest(problem["anchor_weight"].double()) if "anchor_weight" in problem else 1.0
        scale = max(scales[name] * weight, largest(expected[name]))
        limit = torch.finfo(value.dtype)
        # A number that a dtype cannot hold is right where it is the end of the dtype's range.
        nearest = expected[name].clamp(limit.min, limit.max)
        allowed = 4 * plain_error[name] + rounding * scale + limit.tiny
        held = value.double().clamp(limit.min, limit.max)
        findings[name] = Finding(largest(held - nearest), plain_error[name], scale, allowed)
    return findings


def largest(values: Tensor) -> float:
    return values.abs().max().item()


def assert_as_good_as_torch(problem: Problem, device: torch.device) -> None:
    """A loss and its gradients are as near to the definition in float64 as plain torch."""
    for name, (error, plain, scale, allowed) in measure(problem, device).items():
        assert error <= allowed, (
            f"{name} is off by {error:g}, plain torch by {plain:g}, where {scale:g} is usual"
        )


def assert_large_partition_is_shared(device: torch.device) -> None:
    """Seven equal pairs of an anchor have a seventh of its partition each, here of exp(2^29).

    Plain torch in float32 rounds the logarithm of 7 away beside such a logit; paco_loss does not.
    """
    features = torch.zeros(8, 4)
    features[:, 0] = 2**14
    problem = dict(
        features=features, labels=torch.arange(8) % 3, alpha=0.5, temperature=0.5, num_anchors=8
    )
    problem["center_logits"] = torch.full((8, 3), 2.0**29)
    actual = value_and_gradients(paco.paco_loss, on(device, problem))
    expected = value_and_gradients(reference.paco_loss, cast(problem, torch.float64))
    assert_results_close(on(torch.device("cpu"), actual), expected, problem, 1e-5)


def identical(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """The same names with the same bits."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
