"""The benchmarks for a GPU, as far as they can be tested without one."""

import subprocess
import sys
from pathlib import Path

import paco.mmpretrain  # noqa: F401  (first, because it mends the toolbox's imports)

# isort: split
import pytest
import torch
from helpers.small_cifar import options, write_cifar100

from paco.mmpretrain import CIFAR100LT

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
@pytest.mark.parametrize("name", ["loss_cuda", "train_cuda"])
def test_asks_for_a_gpu(name):
    run = subprocess.run(
        [sys.executable, BENCHMARKS / f"{name}.py"], capture_output=True, text=True
    )
    assert run.returncode == 2
    assert "needs a GPU" in run.stderr


@pytest.mark.parametrize("form", ["paco", "gpaco"])
def test_the_ways_are_one_loss(form, monkeypatch, capsys):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import loss_cuda

    monkeypatch.setattr(loss_cuda, "DEVICE", torch.device("cpu"))
    case = loss_cuda.Case("a", form, "float32", threads=1)
    ways = ["paco", "textbook", "sdpa", "published"]
    calls = {way: loss_cuda.make_call(case, way) for way in ways}
    assert loss_cuda.agreeing(calls, "float32", "float32") == calls

    def out_of_memory():
        raise torch.OutOfMemoryError("no memory for this way")

    bad = {"wrong": lambda: tuple(1.1 * x for x in calls["paco"]()), "large": out_of_memory}
    assert loss_cuda.agreeing({**calls, **bad}, "float32", "float32") == calls
    printed = capsys.readouterr().out
    assert "left out: wrong: wrong differs from paco" in printed
    assert "left out: large: no memory for this way" in printed


def test_training_leaves_figures_and_a_log(tmp_path, monkeypatch):
    """On the CPU, in small."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import train_cuda

    names = CIFAR100LT.METAINFO["classes"]
    settings = options(write_cifar100(tmp_path / "data", names)) | {"train_cfg.max_epochs": 1}
    monkeypatch.setattr(train_cuda, "WORK_DIR", tmp_path / "work_dirs")
    row = train_cuda.train("gpaco", [f"{k}={v}" for k, v in settings.items()], tmp_path / "results")
    assert row["epochs"] == 1
    assert row["published"] == 52.3
    assert 0 <= row["few"] <= 100
    log = (tmp_path / "results" / "cifar100_lt_gpaco.log").read_text()
    assert f"long_tail/top1: {row['top1']:.4f}" in log
