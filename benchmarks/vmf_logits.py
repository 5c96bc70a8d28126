"""Forward and backward of ProCo's logits: libpaco, the published form, torch.compile of it.

    python benchmarks/vmf_logits.py
    python benchmarks/vmf_logits.py --shapes cifar --threads 1

torch.compile takes some four minutes for a shape of D = 128.

N features of one view against C classes in D dimensions, as ProCo's recipes have them on one
process, and iNaturalist's classes at D = 128 besides. "products" is the floor: the products z mu^T
and of their gradient with mu, into memory that is there already.

Extra memory is the peak during a call, less the logits and the features' gradient, which every way
returns.
"""

import functools
from collections.abc import Callable
from dataclasses import asdict
from itertools import product
from typing import Any, NamedTuple

import torch
from candidates import VMF_LOGITS
from harness import available_memory, base_parser, interleave, machine, peak_memory, write_csv
from torch import Tensor
from torch.nn import functional as F

FLOOR = "products"
TEMPERATURE = 0.1


class Shape(NamedTuple):
    batch: int  # N
    classes: int  # C
    dim: int  # D
    repetitions: int


SHAPES = {
    "cifar": Shape(256, 100, 128, 21),  # CIFAR-100-LT
    "imagenet": Shape(32, 1000, 1024, 11),  # ImageNet-LT, one process of eight
    "inat": Shape(256, 8142, 128, 3),  # iNaturalist 2018
    "inat1024": Shape(32, 8142, 1024, 3),  # the recipe's D, one process of eight
}
# Copies of [N, C, D] in float32 that are alive at once, for the memory guard.
COPIES = {"miller": 5, "compile": 5}


class Problem(NamedTuple):
    features: Tensor  # a leaf
    mean_direction: Tensor
    concentration: Tensor
    grad_logits: Tensor


@functools.lru_cache(maxsize=1)  # all candidates share one
def make_problem(shape: str) -> Problem:
    batch, classes, dim, _ = SHAPES[shape]
    random = torch.Generator().manual_seed(0)

    def unit_rows(count: int) -> Tensor:
        return F.normalize(torch.randn(count, dim, generator=random), dim=1)

    return Problem(
        features=unit_rows(batch).requires_grad_(),
        mean_direction=unit_rows(classes),
        # The published form is exact up to here.
        concentration=dim * 10 ** (1.4 * torch.rand(classes, generator=random) - 1),
        grad_logits=torch.randn(batch, classes, generator=random) / batch,
    )


def make_call(shape: str, threads: int, candidate: str) -> Callable[[], tuple[Tensor, ...]]:
    """Forward and backward of one way: the call returns logits and gradient."""
    torch.set_num_threads(threads)
    problem = make_problem(shape)
    if candidate == FLOOR:
        return products(problem)
    function = VMF_LOGITS[candidate]()

    def call() -> tuple[Tensor, ...]:
        logits = function(
            problem.features, problem.mean_direction, problem.concentration, TEMPERATURE
        )
        gradients = torch.autograd.grad(logits, problem.features, problem.grad_logits)
        return logits.detach(), *gradients

    return call


def products(problem: Problem) -> Callable[[], tuple[Tensor, ...]]:
    features, directions = problem.features.detach(), problem.mean_direction
    logits = torch.empty_like(problem.grad_logits)
    gradient = torch.empty_like(features)

    def call() -> tuple[Tensor, ...]:
        torch.mm(features, directions.T, out=logits)
        torch.mm(problem.grad_logits, directions, out=gradient)
        return ()

    return call


def check_agreement(calls: dict[str, Callable[[], tuple[Tensor, ...]]]) -> None:
    """Raises unless all ways give the same logits and gradients as the first.

    The published form rounds the norm of kappa mu + z / T to float32: its logits are off by as
    much.
    """
    expected: tuple[Tensor, ...] = ()
    for name, call in calls.items():
        actual = call()
        expected = expected or actual
        for what, x, y in zip(("logits", "gradient"), actual, expected, strict=True):
            error = (x - y).abs().max().item()
            allowed = 1e-3 if what == "logits" else 1e-3 * y.abs().max().item()
            if not error <= allowed:
                raise AssertionError(
                    f"{name} differs from {next(iter(calls))} in {what}: {error:.1e}"
                )


def fits(shape: str, candidate: str) -> bool:
    batch, classes, dim, _ = SHAPES[shape]
    if candidate == "compile" and dim > 128:
        print(f"skipped: compile on {shape}, a graph of {dim - 2} steps of the recurrence")
        return False
    needed = 4 * batch * classes * dim * COPIES.get(candidate, 0)
    available = available_memory()
    if needed > 0.9 * available:
        print(
            f"skipped: {candidate} on {shape} needs about {needed / 1e9:.1f} GB, "
            f"{available / 1e9:.1f} GB are free"
        )
    return needed <= 0.9 * available


def run(shape: str, threads: int, options: Any) -> list[dict[str, Any]]:
    """One row for each candidate that fits into memory."""
    torch.compiler.reset()
    batch, classes, dim, usual_repetitions = SHAPES[shape]
    names = [name for name in options.candidates if fits(shape, name)]
    returned = 4 * batch * (classes + dim)
    extra = {
        name: (peak_memory(make_call, shape, threads, name) - returned) / 1e6
        for name in names
        if name != FLOOR and not options.no_memory
    }
    calls = {name: make_call(shape, threads, name) for name in names}
    check_agreement({name: call for name, call in calls.items() if name != FLOOR})
    timings = interleave(calls, options.repetitions or usual_repetitions)
    rows = []
    for name, timing in timings.items():
        row = {"shape": shape, "threads": threads, "N": batch, "C": classes, "D": dim}
        row |= {"candidate": name, **asdict(timing), "times_paco": None, "extra_mb": None}
        line = f"{shape:9}{threads:2} {name:9}{timing}"
        if "paco" in timings:
            row["times_paco"] = timing.median_ms / timings["paco"].median_ms
            line += f", {row['times_paco']:7.2f} x paco"
        if name in extra:
            row["extra_mb"] = extra[name]
            line += f", {extra[name]:8.1f} MB extra"
        print(line, flush=True)
        rows.append(row)
    return rows


def main() -> None:
    parser = base_parser(__doc__.splitlines()[0], "vmf_logits")
    candidates = [*VMF_LOGITS, FLOOR]
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--candidates", nargs="+", choices=candidates, default=candidates)
    parser.add_argument("--repetitions", type=int, help="a number for each shape by default")
    parser.add_argument("--no-memory", action="store_true", help="measure time only")
    options = parser.parse_args()

    print(machine())
    rows: list[dict[str, Any]] = []
    for shape, threads in product(options.shapes, options.threads):
        rows += run(shape, threads, options)
        if rows:
            write_csv(options.csv, rows)


if __name__ == "__main__":
    main()
