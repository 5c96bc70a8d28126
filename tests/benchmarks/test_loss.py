"""The losses that benchmarks/loss.py compares are one loss, and the benchmark runs."""

import csv
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.bcl_problems import draw_bcl
from helpers.problems import assert_results_close, cast, draw_loss, value_and_gradients

import paco
from paco import reference

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
EAGER = ["paco", "textbook", "sdpa"]


@pytest.mark.parametrize("name", EAGER)
@pytest.mark.parametrize("form", ["paco", "gpaco"])
def test_candidate_is_the_loss(
    rng: random.Random, monkeypatch: pytest.MonkeyPatch, name: str, form: str
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from candidates import LOSSES

    rows = 2 * rng.randint(1, 30)
    problem = draw_loss(
        rng,
        torch.float64,
        rows=rows,
        anchors=rows if form == "gpaco" else rows // 2,
        queue=rng.randint(1, 200),
        classes=rng.randint(2, 12),
        valid=None,
        centers=True,
        weighted=False,
        soft=False,
    )
    problem["temperature"] = rng.uniform(0.1, 1)
    for optional in ("label_smoothing", "base_temperature"):
        problem.pop(optional, None)
    for positive in ("alpha", "beta", "gamma"):
        problem[positive] = rng.uniform(0.1, 2)
    assert_results_close(
        value_and_gradients(LOSSES[name](), problem),
        value_and_gradients(reference.paco_loss, problem),
        problem,
        1e-10,
    )


@pytest.mark.parametrize("case", range(5))
@pytest.mark.parametrize("queue", [False, True])
def test_bcl_with_an_empty_queue_is_the_published_loss(
    rng: random.Random, monkeypatch: pytest.MonkeyPatch, case: int, queue: bool
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from candidates import textbook_bcl

    problem = draw_bcl(rng, torch.float64, queue=None)
    published = value_and_gradients(textbook_bcl, problem)
    assert_results_close(
        published, value_and_gradients(reference.bcl_loss, problem), problem, 1e-10
    )
    if queue:
        problem.update(queue=torch.full((9, problem["features"].size(1)), float("nan")).double())
        problem.update(queue_labels=torch.full((9,), -1), num_valid=torch.tensor(0))
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-6)):
        actual = value_and_gradients(paco.bcl_loss, cast(problem, dtype))
        assert_results_close(actual, published, problem, tolerance, share=1)


@pytest.mark.parametrize(
    ("form", "dtype", "names"),
    [
        ("paco", "float32", [*EAGER, "compile", "products"]),
        ("gpaco", "bfloat16", [*EAGER, "products"]),  # compiling twice would take long
        ("bcl", "float32", ["paco", "textbook", "products"]),
    ],
)
def test_benchmark_runs(tmp_path: Path, form: str, dtype: str, names: list[str]) -> None:
    """On the smallest shape; it fails where the candidates disagree."""
    table, plot = tmp_path / "loss.csv", tmp_path / "loss.png"
    command = [sys.executable, str(BENCHMARKS / "loss.py"), "--repetitions", "2"]
    command += ["--shapes", "cifar" if form == "bcl" else "a"]
    command += ["--forms", form, "--dtypes", dtype, "--threads", "1", "--candidates", *names]
    command += ["--no-memory", "--csv", str(table), "--plot", str(plot)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(command, check=True, timeout=600, env=environment)
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["candidate"] for row in rows] == names
    assert all(0 < float(row["min_ms"]) <= float(row["median_ms"]) for row in rows)
    assert plot.stat().st_size > 0
