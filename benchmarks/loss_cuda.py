"""Forward and backward of the PaCo loss on a GPU: libpaco against four other ways.

    python benchmarks/loss_cuda.py                          # shapes a to d, into benchmarks/results
    python benchmarks/loss_cuda.py --shapes b --candidates paco compile

The shapes, forms and ways are those of loss.py. Beside them:

    graph      libpaco, replayed from a CUDA graph: without the time of the launches
    published  the textbook form with what the published code does around it in each step: it copies
               the queue and reads its pointer on the host

float32 is measured with products in full precision and, as "tf32", on the tensor cores. Times are
those of the GPU's events, with the second-level cache cleared before each call. Memory is what a
call allocates at its peak, its gradients included; a graph has its own from the capture on, and no
figure. A way that fails, or disagrees with libpaco, is left out with a line that says why.
"""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import candidates
import torch
from candidates import LOSSES, textbook
from harness import write_csv
from loss import SHAPES, TOLERANCE, Case, Problem, check_agreement
from loss import make_problem as make_problem_on_cpu
from torch import Tensor

import paco

Call = Callable[[], tuple[Tensor, ...]]


class Kind(NamedTuple):
    """The precision of the products."""

    dtype: str
    matmul_precision: str


KINDS = {
    "float32": Kind("float32", "highest"),
    "tf32": Kind("float32", "high"),
    "bfloat16": Kind("bfloat16", "highest"),
}
WAYS = ["paco", "graph", "textbook", "compile", "sdpa", "published"]
DEVICE = torch.device("cuda")


@functools.lru_cache(maxsize=1)  # all candidates share one
def make_problem(case: Case) -> Problem:
    tensors = make_problem_on_cpu(case)
    return Problem(*(x.detach().to(DEVICE).requires_grad_(x.requires_grad) for x in tensors))


def attention(
    query: Tensor, key: Tensor, value: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """candidates.attention with the kernels that torch has for a GPU."""
    q, k, v = query[None, None], key[None, None], value[None, None]
    if query.dtype == torch.float32:
        output, log_sum, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
            q, k, v, None, True, scale=1 / temperature
        )
    else:
        output, log_sum, *_ = torch.ops.aten._scaled_dot_product_flash_attention(
            q, k, v, scale=1 / temperature
        )
    # The rows of the logarithms may be padded.
    return output[0, 0].to(log_sum.dtype), log_sum[0, 0, : query.size(0)]


def published(pointer: Tensor) -> Callable[..., Tensor]:
    def loss(features, labels, center_logits, queue, queue_labels, **kwargs) -> Tensor:
        queue, queue_labels = queue.clone(), queue_labels.clone()
        value = textbook(features, labels, center_logits, queue, queue_labels, **kwargs)
        int(pointer)
        return value

    return loss


def make_call(case: Case, way: str) -> Call:
    """Forward and backward of one way: the call returns the loss and its gradients."""
    problem = make_problem(case)
    if way == "published":
        function = published(torch.zeros(1, dtype=torch.int64, device=DEVICE))
    else:
        function = LOSSES["paco" if way == "graph" else way]()

    def call() -> tuple[Tensor, ...]:
        features = problem.anchors
        if case.form == "paco":  # joined to the keys in each step
            features = torch.cat([features, problem.keys])
        loss = function(
            features,
            problem.labels,
            problem.classes,
            problem.queue,
            problem.queue_labels,
            num_anchors=case.anchors,
            alpha=0.05,
            temperature=0.2,
        )
        gradients = torch.autograd.grad(loss, (problem.anchors, problem.classes))
        return loss.detach(), *gradients

    return captured(call) if way == "graph" else call


def captured(call: Call) -> Call:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = call()

    def replay() -> tuple[Tensor, ...]:
        graph.replay()
        return results

    return replay


def time_in_turns(calls: dict[str, Call], repetitions: int) -> dict[str, list[float]]:
    """Milliseconds of each call, all ways in turns; the first three rounds do not count."""
    cache = torch.empty(256 * 2**20, dtype=torch.int8, device=DEVICE)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(3 + repetitions):
        for name, call in calls.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            cache.zero_()
            start.record()
            call()
            end.record()
            end.synchronize()
            times[name].append(start.elapsed_time(end))
    return {name: values[3:] for name, values in times.items()}


def peak_memory(call: Call) -> int:
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def agreeing(calls: dict[str, Call], kind: str, dtype: str) -> dict[str, Call]:
    """The ways that give the loss and the gradients of the first."""
    # Between tf32 products 10 bits agree.
    tolerance = TOLERANCE["bfloat16" if kind == "tf32" else dtype]
    first = next(iter(calls), None)
    kept: dict[str, Call] = {}
    for way, call in calls.items():
        try:
            check_agreement({first: calls[first], way: call}, tolerance)
            kept[way] = call
        except (AssertionError, RuntimeError) as error:  # the latter: out of memory
            print(f"left out: {way}: {error}", flush=True)
            torch.cuda.empty_cache()
    return kept


def run(case: Case, kind: str, ways: list[str], repetitions: int) -> list[dict[str, Any]]:
    torch.set_float32_matmul_precision(KINDS[kind].matmul_precision)
    torch.compiler.reset()
    calls: dict[str, Call] = {}
    memory: dict[str, int | None] = {}
    for way in ways:
        try:
            call = make_call(case, way)
            call()
            memory[way] = None if way == "graph" else peak_memory(call)
            calls[way] = call
        except RuntimeError as error:  # out of memory, or no kernel for this problem
            print(f"left out: {way} on {case.shape} {case.form} {kind}: {error}", flush=True)
            torch.cuda.empty_cache()
    times = time_in_turns(agreeing(calls, kind, case.dtype), repetitions)

    rows = []
    batch, queue, dim, classes, _ = SHAPES[case.shape]
    for way, values in times.items():
        row = {
            **{"shape": case.shape, "form": case.form, "kind": kind},
            **{"A": case.anchors, "M": 2 * batch, "K": queue, "D": dim, "C": classes},
            **{"candidate": way, "median_ms": median(values), "min_ms": min(values)},
            "repetitions": len(values),
            "peak_mb": None if memory[way] is None else memory[way] / 1e6,
            "times_paco": median(values) / median(times["paco"]) if "paco" in times else None,
            "gpu": gpu(),
        }
        peak = "" if row["peak_mb"] is None else f"{row['peak_mb']:.1f}"
        print(
            f"{case.shape:6}{case.form:6}{kind:9}{way:10}{row['median_ms']:10.4f} ms, "
            f"at least {row['min_ms']:10.4f} ms, {peak:>9} MB, "
            f"{row['times_paco'] or 0:7.2f} x paco",
            flush=True,
        )
        rows.append(row)
    return rows


def gpu() -> str:
    properties = torch.cuda.get_device_properties(0)
    return (
        f"{properties.name}, {properties.multi_processor_count} multiprocessors, "
        f"torch {torch.__version__}, CUDA {torch.version.cuda}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--csv", type=Path, default=Path("benchmarks/results/cuda.csv"))
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--forms", nargs="+", choices=["paco", "gpaco"], default=["paco", "gpaco"])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--candidates", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--repetitions", type=int, default=30)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("this benchmark needs a GPU; loss.py is the one for a CPU")
    if not paco.build_info()["cuda_version"]:
        parser.error("libpaco was built without CUDA kernels; PACO_CUDA=1 asks for them")

    candidates.attention = attention
    print(gpu())
    rows: list[dict[str, Any]] = []
    for shape in options.shapes:
        for form in options.forms:
            for kind in options.kinds:
                case = Case(shape, form, KINDS[kind].dtype, threads=1)
                rows += run(case, kind, options.candidates, options.repetitions)
                if rows:
                    write_csv(options.csv, rows)
    print(f"wrote {options.csv}")


if __name__ == "__main__":
    main()
