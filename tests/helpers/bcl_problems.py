"""Random problems for bcl_loss, to be compared as those of helpers.problems."""

import random
from collections.abc import Callable
from typing import Any

import torch

from .problems import Problem, unit_rows

# Sizes at which the kernels do something else: see helpers.problems.EDGES.
EDGES: dict[str, dict[str, Any]] = {
    "one row": dict(rows=1, queue=None),
    "one row and its prototype alone": dict(rows=1, classes=1, queue=None),
    "one row and a queue": dict(rows=1, queue=33, valid=None),
    "one class": dict(classes=1, rows=150, queue=700, valid=None),
    "two rows of a class": dict(rows=2, classes=1, queue=5, valid=0),
    "every class once": dict(rows=9, classes=40, queue=None),
    "just a tile": dict(rows=63, classes=1, queue=64, valid=None, dim=64),
    "just over a tile": dict(rows=60, classes=5, queue=65, valid=65, dim=72),
    "one dimension": dict(dim=1),
    "unaligned rows": dict(dim=33, rows=130, queue=300, valid=None),
    "empty queue": dict(queue=50, valid=0),
    "partial queue": dict(queue=150, valid=67),
    "queue longer than a tile": dict(queue=1500, valid=None),
    "queue of many odd tiles": dict(queue=9001, valid=5003, rows=6, dim=5),
    "many anchors": dict(rows=600, dim=48, queue=700, valid=None),
    "many classes": dict(rows=20, classes=5000, dim=24),
    "wide tile": dict(dim=128, rows=96, queue=500, valid=None),
    "widest tile": dict(dim=256, rows=96, queue=500, valid=None),
    "wider than any tile": dict(dim=257, rows=96, queue=500, valid=None),
    "long tail": dict(rows=300, classes=60, queue=2000, valid=None, tail=4.0),
}


def long_tailed_labels(size: int, classes: int, tail: float) -> torch.Tensor:
    """Many of the first classes and few of the last; the larger tail, the fewer."""
    return (torch.rand(size) ** (1 + tail) * classes).long()


def draw_bcl(rng: random.Random, dtype: torch.dtype = torch.float64, **fixed: Any) -> Problem:
    """Arguments of bcl_loss. ``fixed`` takes the place of what would be drawn.

    Sizes are rows (M), dim (D), classes (C), queue (K, None for no queue), valid (n, None for a
    queue without num_valid) and tail; everything else in ``fixed`` is an argument itself.
    """

    def choose(name: str, draw: Callable[[], Any]) -> Any:
        return fixed.pop(name) if name in fixed else draw()

    rows = choose("rows", lambda: rng.randint(1, 40))
    dim = choose("dim", lambda: rng.randint(1, 70))
    classes = choose("classes", lambda: rng.randint(1, 12))
    queue = choose("queue", lambda: rng.choice([None, rng.randint(1, 200)]))
    valid = choose("valid", lambda: rng.choice([None, rng.randint(0, queue or 0)]))
    tail = choose("tail", lambda: rng.choice([0.0, 2.0]))
    problem: Problem = {
        "features": unit_rows(rows, dim, dtype),
        "labels": long_tailed_labels(rows, classes, tail),
        "prototypes": unit_rows(classes, dim, dtype),
        "temperature": 10 ** rng.uniform(-1.3, 0),
    }
    if queue is not None:
        problem["queue"] = unit_rows(queue, dim, dtype)
        problem["queue_labels"] = long_tailed_labels(queue, classes, tail)
        if valid is not None:
            problem["num_valid"] = torch.tensor(rng.choice([valid, [valid]]))
            # Rows that are not valid must not matter, whatever they hold.
            problem["queue"][valid:] = float("nan")
            problem["queue_labels"][valid:] = rng.choice([-1, 0, 10**12])
    return {**problem, **fixed}


def rows_of_norm(norm: float, dtype: torch.dtype = torch.float32, **settings: Any) -> Problem:
    return dict(
        features=(norm * unit_rows(32, 16)).to(dtype),
        labels=long_tailed_labels(32, 5, 1.0),
        prototypes=(norm * unit_rows(5, 16)).to(dtype),
        queue=(norm * unit_rows(200, 16)).to(dtype),
        queue_labels=long_tailed_labels(200, 5, 1.0),
        **{"temperature": 0.07, **settings},
    )


def one_class(queue: int) -> Problem:
    """Equal rows of one class, beside a prototype of another."""
    row = unit_rows(1, 16, torch.float32)
    return dict(
        features=row.repeat(2, 1),
        labels=torch.zeros(2, dtype=torch.int64),
        prototypes=unit_rows(2, 16, torch.float32),
        queue=row.repeat(queue, 1),
        queue_labels=torch.zeros(queue, dtype=torch.int64),
        temperature=0.1,
    )


# What naive float32 gets wrong: 1 / (n - 1) - 1 / n, a weight's logarithm beside a large logit, a
# self pair that is taken off again beside columns of little weight.
HARD: dict[str, Callable[[], Problem]] = {
    **{f"rows of norm {norm:g}": lambda n=norm: rows_of_norm(n) for norm in (1e-6, 30, 1e3, 1e4)},
    "temperature 1e-9": lambda: rows_of_norm(1, temperature=1e-9),
    "temperature 0.003": lambda: rows_of_norm(1, temperature=0.003),
    "temperature 1e9": lambda: rows_of_norm(1, temperature=1e9),
    "bfloat16 of norm 1e6": lambda: rows_of_norm(1e6, torch.bfloat16, temperature=10.0),
    "float16 of norm 100": lambda: rows_of_norm(100, torch.float16),
    "equal rows of norm 1e4": lambda: {
        **rows_of_norm(1e4),
        "features": (1e4 * unit_rows(1, 16)).float().repeat(32, 1),
    },
    "300,000 rows of a class": lambda: one_class(300_000),
    "a class of its row and its prototype": lambda: {
        **rows_of_norm(1),
        "features": unit_rows(4, 16, torch.float32),
        "labels": torch.tensor([4, 0, 0, 0]),
        "queue_labels": torch.zeros(200, dtype=torch.int64),
    },
}
