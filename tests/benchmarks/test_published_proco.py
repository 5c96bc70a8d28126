"""The logits that benchmarks/vmf_logits.py compares are the same, and the benchmark runs."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.von_mises_fisher import draw_vmf

from paco import reference

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("name", ["miller", "miller_without_branches"])
@pytest.mark.parametrize("dim", [40, 128])
def test_the_published_form_is_the_definition(monkeypatch, rng, name, dim):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import candidates

    problem = draw_vmf(rng, torch.float64, dim=dim, temperature=0.3)
    # It divides by kappa, and its recurrence starts too low for large ones.
    problem["concentration"] = problem["concentration"].clamp(1, (dim / 2 - 1) ** 2 / 20)
    problem["mean_direction"] = torch.nn.functional.normalize(
        torch.randn_like(problem["mean_direction"]), dim=1
    )
    problem["features"].requires_grad_()
    results = []
    for function in (getattr(candidates, name), reference.vmf_logits):
        logits = function(**problem)
        upstream = torch.linspace(-1, 2, logits.numel(), dtype=logits.dtype).view_as(logits)
        results.append((logits, *torch.autograd.grad(logits, problem["features"], upstream)))
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-6)


def test_the_benchmark_runs(tmp_path):
    """On the smallest shape; it fails where the candidates disagree."""
    table = tmp_path / "vmf_logits.csv"
    names = ["paco", "miller", "products"]
    command = [sys.executable, str(BENCHMARKS / "vmf_logits.py"), "--shapes", "cifar"]
    command += ["--repetitions", "1", "--threads", "1", "--candidates", *names]
    command += ["--no-memory", "--csv", str(table)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(command, check=True, timeout=600, env=environment)
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["candidate"] for row in rows] == names
    assert all(0 < float(row["min_ms"]) <= float(row["median_ms"]) for row in rows)
