"""One contrast over several processes: what a step moves, holds and takes, on paper and measured.

    python benchmarks/distributed.py              # a run on 2, 3 and 4 processes beside the formula
    python benchmarks/distributed.py --formula    # the formula alone, to 4096 processes

paco.distributed.paco_loss, with the classes shared out or not, beside the usual form: features of
all processes gathered with their gradient, the whole queue on each, one matrix of logits (open_clip
and others). Processes of one machine talk over its loopback device, whose counter
measures what they send; each has one thread.
"""

import argparse
import math
import multiprocessing
import os
import re
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from unittest import mock

import harness
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

import paco
from paco.distributed import ShardedClassCenters
from paco.distributed.collectives import members_of
from paco.nn import ClassCenters

FORMS = ("usual", "shared queue", "shared queue and classes")
T, ALPHA = 0.2, 0.05


class Sizes(NamedTuple):
    """Of all processes together; PaCo: two rows an anchor."""

    anchors: int
    dim: int
    width: int
    classes: int
    queue: int


SHAPES = {
    "ImageNet-LT": Sizes(256, 128, 512, 1000, 8192),
    "many classes": Sizes(256, 128, 512, 100_000, 8192),
    "many keys": Sizes(256, 128, 512, 1000, 262_144),
}


class Cost(NamedTuple):
    """Bytes of one process, in float32."""

    received: int  # in a step, forward and backward
    held: int  # from step to step: queue, centers and their gradient and momentum
    working: int  # at the peak of a step, besides


def cost(form: str, sizes: Sizes, processes: int, scatter: int = 1) -> Cost:
    """The formula. DDP's traffic is not in it.

    Every process receives what is not its own once, but for what is reduced and scattered: that
    ``scatter`` times, 2 with gloo, which reduces all of it everywhere.
    """
    a, d, f, c, k = sizes
    rows = 2 * a
    others = 1 - 1 / processes
    centers = 4 * c * (f + 1) * 3
    logits = 3 * 4 * a * c / processes  # without and with the prior, and their gradient
    own = 3 * 4 * rows / processes * d
    if form == "usual":
        # Features there and their gradients back; seven matrices of pairs.
        received = others * rows * (4 * d + 8 + scatter * 4 * d)
        matrix = 7 * 4 * a / processes * (rows + k)
        return Cost(int(received), int(4 * k * d + centers), int(matrix + logits + 8 * rows * d))
    # Anchors, labels, records, and L, W and the gradient to the loss on the way back.
    received = others * a * (4 * d + 8 + 8 * d + 48 + 24)
    records = a * (32 * d + 100)  # sent and received, and what they are made of
    held = 4 * math.ceil(k / processes) * d + centers
    if form == "shared queue and classes":
        received += others * a * 4 * f * (1 + scatter)  # pooled features there, their gradient back
        held -= centers * others
        records += 2 * 4 * a * f
    return Cost(int(received), int(held), int(records + logits + own))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--formula", action="store_true", help="no run")
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 3, 4], metavar="W")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--repetitions", type=int, default=7, metavar="N")
    parser.add_argument("--csv", type=Path, default=Path("build/benchmarks/distributed.csv"))
    args = parser.parse_args()
    if args.formula:
        print_formula()
        return
    rows = []
    for name in args.shapes:
        for processes in args.processes:
            # The usual form takes batches of one size alone.
            each = SHAPES[name].anchors // processes
            sizes = SHAPES[name]._replace(anchors=each * processes)
            print(f"{name}, {sizes}, {processes} processes")
            for form, result in measure(sizes, processes, args.repetitions).items():
                expected = cost(form, sizes, processes, scatter=2)
                print(
                    f"  {form:26} {result['ms']:9.1f} ms;"
                    f" received {mb(result['received'])} MB, formula {mb(expected.received)};"
                    f" peak {mb(result['working'])} MB, formula {mb(expected.working)};"
                    f" held {mb(expected.held)} MB"
                )
                rows.append(
                    dict(shape=name, processes=processes, form=form, **result)
                    | {f"formula_{key}": value for key, value in expected._asdict().items()}
                )
    harness.write_csv(args.csv, rows)


def mb(number: float) -> str:
    """Megabytes, as wide as a column."""
    return f"{number / 1e6:9.2f}"


def print_formula() -> None:
    """A table to 4096 processes of 64 anchors each, D = 128, F = 2048."""
    print("| W | C | K | form | received a step, MB | held, GB | peak besides, GB |")
    print("|---|---|---|---|---|---|---|")
    for processes in (1, 8, 64, 512, 4096):
        for classes, queue in ((1000, 10**4), (10**6, 10**6), (10**7, 10**8)):
            if classes < processes:  # a process would have none
                continue
            for form in FORMS:
                sizes = Sizes(64 * processes, 128, 2048, classes, queue)
                of = cost(form, sizes, processes)
                print(
                    f"| {processes} | {classes:.0e} | {queue:.0e} | {form} | "
                    f"{of.received / 1e6:.3g} | {of.held / 1e9:.3g} | {of.working / 1e9:.3g} |"
                )


def measure(sizes: Sizes, processes: int, repetitions: int) -> dict[str, dict[str, float]]:
    """Time, bytes received and peak memory of one process, by form."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        pools = [ProcessPoolExecutor(1, spawn) for _ in range(processes)]
        with mock.patch.dict(os.environ, harness.RETURN_MEMORY):
            calls = [
                pool.submit(of_process, rank, processes, f"{folder}/group", sizes, repetitions)
                for rank, pool in enumerate(pools)
            ]
            results = [call.result() for call in calls]
        for pool in pools:
            pool.shutdown()
    losses = {form: sum(r[form]["loss"] for r in results) / processes for form in FORMS}
    reference = losses["usual"]
    assert all(abs(loss - reference) < 1e-4 * reference for loss in losses.values()), losses
    return {
        form: {
            name: median(r[form][name] for r in results) for name in ("ms", "received", "working")
        }
        for form in FORMS
    }


def of_process(
    rank: int, processes: int, rendezvous: str, sizes: Sizes, repetitions: int
) -> dict[str, dict[str, float]]:
    """The measurements of one process."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=FutureWarning)  # names that torch 2.13 gave up
    dist.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=processes
    )
    results = {}
    for form in FORMS:
        step = make_step(form, sizes)
        loss = step()
        seconds = []
        dist.barrier()
        before = sent_over_loopback()
        for _ in range(repetitions):
            start = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - start)
        dist.barrier()
        sent = (sent_over_loopback() - before) / processes / repetitions
        results[form] = dict(
            loss=float(loss),
            ms=1e3 * median(seconds),
            received=sent,
            working=harness._peak_memory_here(lambda step=step: step, ()),
        )
    dist.destroy_process_group()
    return results


def sent_over_loopback() -> int:
    """Bytes, since the machine started."""
    found = re.search(r"lo:\s+(\d+)", Path("/proc/net/dev").read_text())
    assert found is not None
    return int(found[1])


def make_step(form: str, sizes: Sizes) -> Callable[[], Tensor]:
    """Forward and backward pass of the loss and the centers."""
    torch.manual_seed(0)
    members = members_of(None)
    first, own = members.share(sizes.anchors)
    mine = slice(first, first + own)
    queries = F.normalize(torch.randn(sizes.anchors, sizes.dim), dim=1)[mine].requires_grad_()
    keys = F.normalize(torch.randn(sizes.anchors, sizes.dim), dim=1)[mine]
    labels = torch.randint(sizes.classes, (sizes.anchors,))[mine]
    pooled = torch.randn(sizes.anchors, sizes.width)[mine].requires_grad_()
    # Every process draws the whole, so that all forms solve one problem.
    queue = F.normalize(torch.randn(sizes.queue, sizes.dim), dim=1)
    queue_labels = torch.randint(sizes.classes, (sizes.queue,))
    whole = ClassCenters(sizes.width, sizes.classes)
    centers = whole
    if form != "usual":
        k_first, k_own = members.share(sizes.queue)
        queue = queue[k_first : k_first + k_own].clone()
        queue_labels = queue_labels[k_first : k_first + k_own].clone()
    if form == "shared queue and classes":
        centers = ShardedClassCenters(sizes.width, sizes.classes)
        centers.load_state_dict(whole.state_dict())
    del whole
    num_classes = sizes.classes if form == "shared queue and classes" else None

    def step() -> Tensor:
        features = torch.cat([queries, keys])
        row_labels = torch.cat([labels, labels])
        logits = centers(pooled)
        if form == "usual":
            loss = usual_loss(features, row_labels, logits, queue, queue_labels)
        else:
            loss = paco.distributed.paco_loss(
                features,
                row_labels,
                logits,
                queue,
                queue_labels,
                num_anchors=own,
                num_classes=num_classes,
                alpha=ALPHA,
                temperature=T,
            )
        loss.backward()
        for tensor in (queries, pooled, *centers.parameters()):
            tensor.grad = None
        return loss.detach()

    return step


class Gather(torch.autograd.Function):
    """Rows of all processes, with their gradient."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        grad = grad.contiguous()
        own = torch.empty_like(grad.chunk(dist.get_world_size())[0])
        dist.reduce_scatter_tensor(own, grad)
        return own


def usual_loss(
    features: Tensor, labels: Tensor, logits: Tensor, queue: Tensor, queue_labels: Tensor
) -> Tensor:
    """The textbook form on gathered features: own anchors, the columns of all, one matrix."""
    own = len(logits)
    rows = Gather.apply(features.contiguous())
    parts = [torch.empty_like(labels) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, labels)
    row_labels = torch.cat([*parts, queue_labels])
    pairs = features[:own] @ torch.cat([rows, queue]).T / T
    itself = dist.get_rank() * len(features) + torch.arange(own)
    mask = torch.zeros_like(pairs, dtype=torch.bool).scatter_(1, itself[:, None], True)
    positive = (labels[:own, None] == row_labels) & ~mask
    everything = torch.cat([logits, pairs.masked_fill(mask, -torch.inf)], 1)
    log_partition = torch.logsumexp(everything, 1)
    count = positive.sum(1)
    target = logits.gather(1, labels[:own, None])[:, 0]
    bracket = target + ALPHA * (pairs * positive).sum(1)
    weight = 1 + ALPHA * count
    return (log_partition - bracket / weight).mean()


if __name__ == "__main__":
    main()
