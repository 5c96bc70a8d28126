"""Every Python example takes a few steps, in this process, and says how well it does."""

import re
import runpy
import sys
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"
PYTHON = sorted(str(path.relative_to(EXAMPLES)) for path in EXAMPLES.glob("*/*.py"))


def test_there_is_one_for_each_trainer_and_one_for_each_other_contrast():
    of_pytorch = ["pytorch/bcl.py", "pytorch/proco.py", "pytorch/train.py"]
    assert ["lightning/train.py", *of_pytorch, "timm/train.py"] == PYTHON


@pytest.mark.parametrize("name", PYTHON)
def test_it_trains_and_prints_accuracies(name, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = EXAMPLES / name
    monkeypatch.syspath_prepend(path.parent)  # as Python does with a script's folder
    for module in ("bcl", "train"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(sys, "argv", [str(path), "--steps", "3"])
    runpy.run_path(str(path), run_name="__main__")
    out = capsys.readouterr().out
    accuracy = {
        group: float(value)
        for group, value in re.findall(r"\b(all|many|medium|few)\b[ │]+([\d.]+)", out)
    }
    assert accuracy.keys() == {"all", "many", "medium", "few"}, out
    # One digit is many-shot, 3 are medium and 6 few-shot; all have 60 test images.
    mean = accuracy["many"] + 3 * accuracy["medium"] + 6 * accuracy["few"]
    # Both sides are of numbers rounded to 0.1.
    assert accuracy["all"] == pytest.approx(mean / 10, abs=0.11)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", PYTHON)
def test_it_is_short(name):
    assert len((EXAMPLES / name).read_text().splitlines()) < 120


def test_a_second_test_with_lightning_starts_anew():
    example = runpy.run_path(str(EXAMPLES / "lightning" / "train.py"))
    model = example["PaCo"](torch.arange(10, 0, -1))
    logged = []
    model.log_dict = logged.append
    for c in (3, 4):
        model.predictions.append(torch.tensor([3]))
        model.labels.append(torch.tensor([c]))
        model.on_test_epoch_end()
    assert [accuracy["all"] for accuracy in logged] == [100, 0]
