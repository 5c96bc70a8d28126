"""center_logits, queue_enqueue_ and the momentum update against the plain torch lines.

python benchmarks/operators.py
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from harness import base_parser, interleave, machine, write_csv
from torch import Tensor
from torch.nn import functional as F

import paco
from paco.nn import momentum_update_

Candidates = dict[str, Callable[[], Any]]


def center_logits(batch: int, width: int, classes: int, cosine: bool) -> Candidates:
    """Forward and backward."""
    leaves = [torch.randn(batch, width), torch.randn(classes, width)]
    if not cosine:
        leaves.append(torch.randn(classes))
    for leaf in leaves:
        leaf.requires_grad_()
    prior = paco.log_prior(torch.randint(1, 1000, (classes,)))
    upstream = torch.randn(batch, classes)

    def plain(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if cosine:
            return 10.0 * F.linear(F.normalize(x, dim=1), F.normalize(weight, dim=1)) + prior
        return F.linear(x, weight, bias) + prior

    def ours(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return paco.center_logits(x, weight, bias, prior, scale=10.0 if cosine else None)

    def call(function: Callable[..., Tensor]) -> Callable[[], tuple[Tensor, ...]]:
        return lambda: torch.autograd.grad(function(*leaves), leaves, upstream)

    return {"paco": call(ours), "plain": call(plain)}


def queue_enqueue(batch: int, size: int, dim: int) -> Candidates:
    """The plain lines read the pointer on the host and need the batch to divide the queue."""
    queue, queue_labels = torch.randn(size, dim), torch.randint(100, (size,))
    state = torch.tensor([0, size])
    keys, labels = torch.randn(batch, dim), torch.randint(100, (batch,))

    def plain() -> None:
        begin = int(state[0])
        queue[begin : begin + batch] = keys
        queue_labels[begin : begin + batch] = labels
        state[0] = (begin + batch) % size

    return {
        "paco": lambda: paco.queue_enqueue_(queue, queue_labels, state, keys, labels),
        "plain": plain,
    }


def momentum_update(shapes: list[tuple[int, ...]]) -> Candidates:
    query = [torch.randn(shape) for shape in shapes]
    key = [torch.randn(shape) for shape in shapes]
    momentum = 0.999

    def plain() -> None:
        for k, q in zip(key, query, strict=True):
            k.data = k.data * momentum + q.data * (1 - momentum)

    return {"paco": lambda: momentum_update_(key, query, momentum), "plain": plain}


def convolution(outputs: int, inputs: int, size: int) -> list[tuple[int, ...]]:
    """Parameters of a convolution and the BatchNorm after it."""
    return [(outputs, inputs, size, size), (outputs,), (outputs,)]


def resnet32() -> list[tuple[int, ...]]:
    """Parameters of the CIFAR form."""
    shapes, width = convolution(16, 3, 3), 16
    for outputs in 5 * [16] + 5 * [32] + 5 * [64]:
        shapes += convolution(outputs, width, 3) + convolution(outputs, outputs, 3)
        width = outputs
    return [*shapes, (100, 64), (100,)]


def resnet50() -> list[tuple[int, ...]]:
    shapes, width = convolution(64, 3, 7), 64
    for inner, blocks in (64, 3), (128, 4), (256, 6), (512, 3):
        for block in range(blocks):
            shapes += convolution(inner, width, 1) + convolution(inner, inner, 3)
            shapes += convolution(4 * inner, inner, 1)
            if block == 0:
                shapes += convolution(4 * inner, width, 1)
            width = 4 * inner
    return [*shapes, (1000, 2048), (1000,)]


PROBLEMS: dict[tuple[str, str], Callable[[], Candidates]] = {
    ("center_logits", "128x64, 100 classes"): lambda: center_logits(128, 64, 100, False),
    ("center_logits", "128x2048, 1000 classes"): lambda: center_logits(128, 2048, 1000, False),
    ("center_logits", "128x2048, 8142 classes"): lambda: center_logits(128, 2048, 8142, False),
    ("center_logits", "128x64, 100 classes, cosine"): lambda: center_logits(128, 64, 100, True),
    ("center_logits", "128x2048, 8142 classes, cosine"): lambda: center_logits(
        128, 2048, 8142, True
    ),
    ("queue_enqueue_", "128 of 1024x32"): lambda: queue_enqueue(128, 1024, 32),
    ("queue_enqueue_", "128 of 8192x128"): lambda: queue_enqueue(128, 8192, 128),
    ("queue_enqueue_", "4096 of 65536x256"): lambda: queue_enqueue(4096, 65536, 256),
    ("momentum_update_", "ResNet-32"): lambda: momentum_update(resnet32()),
    ("momentum_update_", "ResNet-50"): lambda: momentum_update(resnet50()),
}


def main() -> None:
    parser = base_parser(__doc__.splitlines()[0], "operators")
    parser.add_argument("--repetitions", type=int, default=100)
    options = parser.parse_args()

    print(machine())
    rows: list[dict[str, Any]] = []
    for (operator, problem), make in PROBLEMS.items():
        candidates = make()
        for threads in options.threads:
            torch.set_num_threads(threads)
            timings = interleave(candidates, options.repetitions)
            for name, timing in timings.items():
                ratio = timing.median_ms / timings["paco"].median_ms
                rows.append(
                    {
                        "operator": operator,
                        "problem": problem,
                        "threads": threads,
                        "candidate": name,
                        **asdict(timing),
                        "times_paco": ratio,
                    }
                )
                print(
                    f"{operator:17}{problem:31}{threads:2} {name:6}{timing}, {ratio:5.2f} x paco",
                    flush=True,
                )
    write_csv(options.csv, rows)
    print(f"wrote {options.csv}")


if __name__ == "__main__":
    main()
