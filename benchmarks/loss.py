"""Forward and backward of the losses: libpaco, the textbook form, torch.compile, attention.

    python benchmarks/loss.py                       # PaCo and GPaCo, shapes a, b, c and c1024
    python benchmarks/loss.py --shapes d --repetitions 5
    python benchmarks/loss.py --forms bcl           # BCL, all of its shapes
    python benchmarks/loss.py --shapes pixels150 pixels171 --dtypes float32
    python benchmarks/loss.py --shapes batch150 batch171 --dtypes float32 --repetitions 1

A batch has B images in two views and so M = 2B rows of features. In the PaCo form the first views
are the A = B anchors and the second the keys, which carry no gradient; in the GPaCo form all rows
are anchors with a gradient, A = M = 2B. "products" is the floor, the two matrix products of the
forward pass alone, into memory that is there already; of BCL, where every column has a gradient,
the three of both passes.

Extra memory is the peak during a call, less what every way needs: the features, their gradients,
the gradient of the center logits or prototypes, and one row of gradients for each anchor.
"""

import functools
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from candidates import BCL_LOSSES, LOSSES
from harness import available_memory, base_parser, interleave, machine, peak_memory, write_csv
from torch import Tensor
from torch.nn import functional as F

FLOOR = "products"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Differences between any two ways, relative to the largest entry; bfloat16 keeps 8 bits.
TOLERANCE = {"float32": 1e-4, "bfloat16": 3e-2}


class Shape(NamedTuple):
    batch: int  # B
    queue: int  # K
    dim: int  # D
    classes: int  # C
    repetitions: int


SHAPES = {
    "a": Shape(128, 1024, 32, 100, 200),  # CIFAR-100-LT
    "b": Shape(128, 8192, 128, 1000, 50),  # ImageNet-LT
    "c": Shape(128, 8192, 128, 8142, 50),  # iNaturalist 2018
    "c1024": Shape(1024, 8192, 128, 8142, 11),
    "d": Shape(4096, 65536, 256, 21841, 5),  # ImageNet-21k
}
# The sizes of BCL's recipes.
BCL_SHAPES = {
    "cifar": Shape(256, 0, 128, 100, 50),  # CIFAR-100-LT
    "imagenet": Shape(256, 0, 1024, 1000, 20),  # ImageNet-LT
    "inat": Shape(256, 0, 1024, 8142, 11),  # iNaturalist 2018
}
# The pixels of a segmentation head, all of them anchors and none in a queue: 8,192 of an image,
# or all of four images of 512 x 512 at stride 4; ADE20K and COCO-Stuff.
PIXEL_SHAPES = {
    "pixels150": Shape(4096, 0, 128, 150, 5),
    "pixels171": Shape(4096, 0, 128, 171, 5),
    "batch150": Shape(32768, 0, 128, 150, 1),
    "batch171": Shape(32768, 0, 128, 171, 1),
}
SHAPES |= BCL_SHAPES | PIXEL_SHAPES


class Case(NamedTuple):
    """One problem."""

    shape: str
    form: str
    dtype: str
    threads: int

    @property
    def anchors(self) -> int:
        return SHAPES[self.shape].batch * (1 if self.form == "paco" else 2)

    @property
    def matrix_entries(self) -> int:
        """A (C + M + K)."""
        batch, queue, _, classes, _ = SHAPES[self.shape]
        return self.anchors * (classes + 2 * batch + queue)

    @property
    def necessary_memory(self) -> int:
        """Bytes of features and gradients: see the module's text."""
        batch, _, dim, classes, _ = SHAPES[self.shape]
        size = DTYPES[self.dtype].itemsize
        # The PaCo form's features are joined from queries and keys; GPaCo's are an input.
        features = 2 * batch * dim * (2 if self.form == "paco" else 1)
        of_classes = classes * (dim if self.form == "bcl" else self.anchors)
        return size * (features + of_classes) + 4 * self.anchors * dim


# Copies of the [A, C + M + K] matrix in float32 that are alive at once, for the memory guard.
MATRICES = {"textbook": 10, "compile": 5, FLOOR: 1}


class Problem(NamedTuple):
    anchors: Tensor  # a leaf
    keys: Tensor  # rows without a gradient, none in the GPaCo form
    labels: Tensor
    classes: Tensor  # a leaf: center logits, of BCL prototypes
    queue: Tensor
    queue_labels: Tensor


@functools.lru_cache(maxsize=1)  # all candidates share one
def make_problem(case: Case) -> Problem:
    batch, queue, dim, classes, _ = SHAPES[case.shape]
    dtype = DTYPES[case.dtype]
    random = torch.Generator().manual_seed(0)

    def unit_rows(count: int) -> Tensor:
        return F.normalize(torch.randn(count, dim, generator=random), dim=1).to(dtype)

    return Problem(
        anchors=unit_rows(case.anchors).requires_grad_(),
        keys=unit_rows(2 * batch - case.anchors),
        labels=torch.randint(classes, (batch,), generator=random).repeat(2),
        classes=(
            unit_rows(classes)
            if case.form == "bcl"
            else torch.randn(case.anchors, classes, generator=random).to(dtype)
        ).requires_grad_(),
        queue=unit_rows(queue),
        queue_labels=torch.randint(classes, (queue,), generator=random),
    )


def make_call(case: Case, candidate: str) -> Callable[[], tuple[Tensor, ...]]:
    """Forward and backward of one way: the call returns the loss and its gradients."""
    torch.set_num_threads(case.threads)
    problem = make_problem(case)
    if candidate == FLOOR:
        rows = [problem.anchors, problem.keys, problem.queue]
        rows += [problem.classes] if case.form == "bcl" else []
        return products(
            problem.anchors.detach(), torch.cat(rows).detach(), backward=case.form == "bcl"
        )
    if case.form == "bcl":
        return make_bcl_call(problem, BCL_LOSSES[candidate]())
    loss_function = LOSSES[candidate]()
    # To the other ways autograd says that keys need no gradient.
    keys = {"detach_keys": True} if candidate == "paco" else {}

    def call() -> tuple[Tensor, ...]:
        features = problem.anchors
        if case.form == "paco":  # joined to the keys in each step
            features = torch.cat([features, problem.keys])
        loss = loss_function(
            features,
            problem.labels,
            problem.classes,
            problem.queue,
            problem.queue_labels,
            num_anchors=case.anchors,
            **keys,
            alpha=0.05,
            temperature=0.2,
        )
        gradients = torch.autograd.grad(loss, (problem.anchors, problem.classes))
        return loss.detach(), *gradients

    return call


def make_bcl_call(
    problem: Problem, loss_function: Callable[..., Tensor]
) -> Callable[[], tuple[Tensor, ...]]:
    def call() -> tuple[Tensor, ...]:
        loss = loss_function(problem.anchors, problem.labels, problem.classes, temperature=0.1)
        gradients = torch.autograd.grad(loss, (problem.anchors, problem.classes))
        return loss.detach(), *gradients

    return call


def products(anchors: Tensor, rows: Tensor, backward: bool) -> Callable[[], tuple[Tensor, ...]]:
    """Anchors @ rows.T, its result @ rows, and for a backward pass its transpose @ anchors."""
    scores = anchors.new_empty(anchors.size(0), rows.size(0))
    sums, gradient = torch.empty_like(anchors), torch.empty_like(rows)
    columns = rows.T

    def call() -> tuple[Tensor, ...]:
        torch.mm(anchors, columns, out=scores)
        torch.mm(scores, rows, out=sums)
        if backward:
            torch.mm(scores.T, anchors, out=gradient)
        return ()

    return call


def check_agreement(calls: dict[str, Callable[[], tuple[Tensor, ...]]], tolerance: float) -> None:
    """Raises unless all ways give the same loss and gradients as the first."""
    expected: tuple[Tensor, ...] = ()
    for name, call in calls.items():
        actual = call()
        expected = expected or actual
        for what, x, y in zip(("loss", "features", "classes"), actual, expected, strict=True):
            error = ((x - y).abs().max() / y.abs().max()).item()
            if not error <= tolerance:
                raise AssertionError(
                    f"{name} differs from {next(iter(calls))} in {what}: {error:.1e}"
                )


def fits(case: Case, candidate: str) -> bool:
    needed = 4 * case.matrix_entries * MATRICES.get(candidate, 0)
    available = available_memory()
    if needed > 0.9 * available:
        print(
            f"skipped: {candidate} on {case.shape} {case.form} {case.dtype} needs about "
            f"{needed / 1e9:.1f} GB, {available / 1e9:.1f} GB are free"
        )
    return needed <= 0.9 * available


def run(
    case: Case,
    candidates: Iterable[str],
    repetitions: int | None,
    with_memory: bool,
    clock: Callable[[], float] = time.perf_counter,
) -> list[dict[str, Any]]:
    """One row for each candidate that fits into memory."""
    torch.compiler.reset()
    known = {*(BCL_LOSSES if case.form == "bcl" else LOSSES), FLOOR}
    if case.shape in PIXEL_SHAPES:
        known.discard("sdpa")  # PyTorch's attention takes no empty queue
    names = [name for name in candidates if name in known and fits(case, name)]
    extra: dict[str, float] = {}
    for name in names if with_memory else ():
        if name != FLOOR:
            extra[name] = (peak_memory(make_call, case, name) - case.necessary_memory) / 1e6

    calls = {name: make_call(case, name) for name in names}
    losses = {name: call for name, call in calls.items() if name != FLOOR}
    check_agreement(losses, TOLERANCE[case.dtype])
    batch, queue, dim, classes, usual_repetitions = SHAPES[case.shape]
    timings = interleave(calls, repetitions or usual_repetitions, clock)

    rows = []
    for name, timing in timings.items():
        row = {
            **case._asdict(),
            **{"A": case.anchors, "M": 2 * batch, "K": queue, "D": dim, "C": classes},
            "candidate": name,
            **asdict(timing),
        }
        line = f"{case.shape:10}{case.form:6}{case.dtype:9}{case.threads:2} {name:9}{timing}"
        row["times_paco"] = row["extra_mb"] = None  # where there is no such number
        if "paco" in timings:
            row["times_paco"] = timing.median_ms / timings["paco"].median_ms
            line += f", {row['times_paco']:6.2f} x paco"
        if name in extra:
            row["extra_mb"] = extra[name]
            line += f", {extra[name]:8.1f} MB extra"
        print(line, flush=True)
        rows.append(row)
    return rows


def plot(path: Path, rows: list[dict[str, Any]]) -> None:
    """Median times: a panel for each form, dtype and number of threads."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    def panel_of(row: dict[str, Any]) -> str:
        threads = f"{row['threads']} thread" + "s" * (row["threads"] > 1)
        return f"{row['form']}, {row['dtype']}, {threads}"

    panels = list(dict.fromkeys(map(panel_of, rows)))
    names = list(dict.fromkeys(row["candidate"] for row in rows))
    shapes = list(dict.fromkeys(row["shape"] for row in rows))
    width = 0.8 / len(names)
    columns = min(len(panels), 2)
    lines = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        lines,
        columns,
        figsize=(7 * columns, 1 + 3.5 * lines),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    for panel, ax in zip(panels, axes.flat[: len(panels)], strict=True):
        ax.set_title(panel)
        for i, name in enumerate(names):
            shown = [row for row in rows if panel_of(row) == panel and row["candidate"] == name]
            bars = ax.bar(
                [shapes.index(row["shape"]) + width * (i + 0.5) - 0.4 for row in shown],
                [row["median_ms"] for row in shown],
                width,
                label=name,
            )
            ratios = [f"{row['times_paco']:.2g}" if row["times_paco"] else "" for row in shown]
            ax.bar_label(bars, ratios, fontsize="x-small")
        ax.set_xticks(range(len(shapes)), shapes)
        ax.set_yscale("log")
        ax.set_ylabel("ms, median")
        ax.grid(axis="y", alpha=0.3)
    axes[0][0].legend()
    figure.suptitle(f"The loss, forward and backward; above the bars: times libpaco\n{machine()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = base_parser(__doc__.splitlines()[0], "loss")
    candidates = [*LOSSES, FLOOR]
    forms = ["paco", "gpaco", "bcl"]
    shapes = ["a", "b", "c", "c1024", *BCL_SHAPES]
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=shapes)
    parser.add_argument("--forms", nargs="+", choices=forms, default=["paco", "gpaco"])
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--candidates", nargs="+", choices=candidates, default=candidates)
    parser.add_argument("--repetitions", type=int, help="a number for each shape by default")
    parser.add_argument("--no-memory", action="store_true", help="measure time only")
    parser.add_argument(
        "--cpu-time", action="store_true", help="the processor's time, of all threads together"
    )
    parser.add_argument("--plot", type=Path, default=Path("build/benchmarks/loss.png"))
    options = parser.parse_args()

    print(machine())
    rows: list[dict[str, Any]] = []
    cases = product(options.shapes, options.forms, options.dtypes, options.threads)
    for case in map(Case._make, cases):
        if (case.form == "bcl") != (case.shape in BCL_SHAPES):
            continue
        if case.form == "paco" and case.shape in PIXEL_SHAPES:
            continue
        clock = time.process_time if options.cpu_time else time.perf_counter
        rows += run(case, options.candidates, options.repetitions, not options.no_memory, clock)
        if rows:
            write_csv(options.csv, rows)
    if rows:
        plot(options.plot, rows)
        print(f"wrote {options.csv} and {options.plot}")


if __name__ == "__main__":
    main()
