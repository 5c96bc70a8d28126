"""The benchmarks' own measures of time and memory."""

import math
import os
import random
import time
from functools import partial
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


# Bytes that peak_memory may be off by: what allocators add, and pages that are not counted yet.
TOLERANCE = 500_000 + 4096 * max(32, 2 * os.cpu_count())


@pytest.mark.usefixtures("one_cpu")
def test_peak_memory_sees_every_page(rng: random.Random) -> None:
    from harness import peak_memory

    count = rng.randint(1_000_000, 10_000_000)
    assert peak_memory(partial, torch.ones, count) == pytest.approx(4 * count, abs=TOLERANCE)


@pytest.mark.usefixtures("one_cpu")
def test_peak_memory_counts_one_call() -> None:
    from harness import peak_memory

    # Memory that the call before this one freed, or that is still held, must not count.
    held = torch.ones(3_000_000)
    assert peak_memory(partial, torch.add, held, 1) == pytest.approx(12_000_000, abs=TOLERANCE)


def test_interleave_takes_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    import harness

    # However long a call takes here, it is short.
    monkeypatch.setattr(harness, "SETTLE_SECONDS", math.inf)
    order: list[str] = []

    def call(name: str, seconds: float) -> None:
        order.append(name)
        time.sleep(seconds)

    timings = harness.interleave(
        {"slow": partial(call, "slow", 0.02), "fast": partial(call, "fast", 0.001)}, 3
    )
    assert order == 4 * ["slow", "slow", "fast", "fast"]
    for name, least in ("slow", 20), ("fast", 1):
        assert least <= timings[name].min_ms <= timings[name].median_ms
        assert timings[name].repetitions == 3
