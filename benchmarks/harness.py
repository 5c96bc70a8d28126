"""The benchmarks' tools: interleaved timing, peak memory, the machine's name, tables, plots."""

import argparse
import csv
import ctypes
import gc
import multiprocessing
import os
import platform
import re
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import torch

__all__ = [
    "SETTLE_SECONDS",
    "Timing",
    "available_memory",
    "base_parser",
    "interleave",
    "machine",
    "peak_memory",
    "write_csv",
]

# A call below this is made once untimed before each timed one.
SETTLE_SECONDS = 0.5


@dataclass(frozen=True)
class Timing:
    """The time of several calls of one thing, in milliseconds."""

    median_ms: float
    min_ms: float
    repetitions: int

    @classmethod
    def of(cls, seconds: list[float]) -> "Timing":
        return cls(1e3 * median(seconds), 1e3 * min(seconds), len(seconds))

    def __str__(self) -> str:
        return f"{self.median_ms:11.3f} ms, at least {self.min_ms:11.3f} ms"


def interleave(
    candidates: dict[str, Callable[[], Any]],
    repetitions: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Times the candidates in turns, so that what else the machine does hits all of them alike.

    Each turn starts with an untimed call: what a candidate finds in the caches, the memory
    allocator and the thread pool is then its own and not its predecessor's. A first round warms up
    and does not count; the untimed calls are left out for candidates that took long in it.
    ``time.process_time`` for a clock leaves out what others do on a machine that is not quiet.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(1 + repetitions):
            for name, call in candidates.items():
                if not seconds[name] or seconds[name][0] < SETTLE_SECONDS:
                    call()
                start = clock()
                call()
                seconds[name].append(clock() - start)
    finally:
        if collecting:
            gc.enable()
    return {name: Timing.of(times[1:]) for name, times in seconds.items()}


# glibc keeps freed blocks, and MKL its buffers, so that a second call finds its memory in place and
# seems to need none. With these, both return it: a block from 64 KB is mapped for itself.
RETURN_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_TOP_PAD_": "0",
    "MKL_DISABLE_FAST_MM": "1",
}


def peak_memory(make_call: Callable[..., Callable[[], Any]], *arguments: Any) -> int:
    """Bytes by which ``make_call(*arguments)()`` raises the memory of a process at its peak.

    The kernel counts the resident pages, so every allocator is seen: torch's, the BLAS library's
    and our own. It happens in a fresh process after a first call that brings code, threads and
    caches into place. What the call returns is part of the peak; what a candidate would keep from
    one call to the next is not. The kernel counts to about 0.3 MB. Linux only.
    """
    with (
        mock.patch.dict(os.environ, RETURN_MEMORY),
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process,
    ):
        return process.submit(_peak_memory_here, make_call, arguments).result()


def _peak_memory_here(
    make_call: Callable[..., Callable[[], Any]], arguments: tuple[Any, ...]
) -> int:
    call = make_call(*arguments)
    call()
    peaks = []
    for _ in range(3):
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        before = _kilobytes("/proc/self/smaps_rollup", "Rss")
        Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM, the peak, to what is there now
        call()
        peaks.append(_kilobytes("/proc/self/status", "VmHWM") - before)
    return median(peaks) * 1024


def available_memory() -> int:
    """Bytes that can be allocated now without swapping."""
    return _kilobytes("/proc/meminfo", "MemAvailable") * 1024


def _kilobytes(path: str, field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", Path(path).read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{path} has no {field}: these measurements need Linux")
    return int(found[1])


def machine() -> str:
    """Processor, cores, instruction set torch uses and torch's version, for tables and titles."""
    found = re.search(r"^model name\s+: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    model = found[1].strip() if found else platform.machine()
    return (
        f"{model}, {len(os.sched_getaffinity(0))} cores, "
        f"{torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"
    )


def base_parser(description: str, output: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--csv", type=Path, default=Path(f"build/benchmarks/{output}.csv"))
    return parser


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes rows with the same keys, and the machine as the last column of each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "machine"])
        writer.writeheader()
        writer.writerows({**row, "machine": machine()} for row in rows)
