"""tools/test.py --out, in this process, on a model that was not trained."""

import pickle
from pathlib import Path

import pytest

import paco.mmpretrain  # noqa: F401  (mends the toolbox's imports)

# isort: split
import torch
from helpers.digits_runs import CONFIGS
from mmpretrain import get_model

from paco.tools import test as tool

CONFIG = CONFIGS / "digits_lt" / "balanced_softmax.py"


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    path = tmp_path / "model.pth"
    torch.save({"state_dict": get_model(str(CONFIG)).state_dict()}, path)
    return path


def run(*arguments: object) -> None:
    tool.main([*map(str, arguments)])


def test_the_predictions_are_those_of_the_metrics(checkpoint, tmp_path):
    out = tmp_path / "predictions.pkl"
    run(CONFIG, checkpoint, "--work-dir", tmp_path / "work", "--out", out)
    (log,) = (tmp_path / "work").glob("*/*.log")

    samples = pickle.loads(out.read_bytes())
    labels = torch.cat([sample["gt_label"] for sample in samples])
    scores = torch.stack([sample["pred_score"] for sample in samples])
    assert labels.bincount().tolist() == [60] * 10
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(600))
    correct = (scores.argmax(dim=1) == labels).double().mean().item()
    assert f"long_tail/top1: {100 * correct:.4f}" in log.read_text()
    # Each image has its own tensors; as views they would bring the batch's along, 600 times.
    assert out.stat().st_size < 2000 * len(samples)


def test_a_checkpoint_of_another_model_is_refused(checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    other = tmp_path / "other.pth"
    renamed = {name.replace("backbone", "encoder"): value for name, value in state.items()}
    torch.save({"state_dict": renamed}, other)
    with pytest.raises(SystemExit, match=r"test\.py: .*other\.pth is not .* are missing: backbone"):
        run(CONFIG, other, "--work-dir", tmp_path / "work")


def test_class_counts_that_nobody_knows_are_one_sentence(checkpoint, tmp_path):
    training = ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler")
    missing = ("--cfg-options", *(f"{name}=None" for name in training))
    with pytest.raises(SystemExit, match=r"^test\.py: LongTailMetric does not know .*; pass Long"):
        run(CONFIG, checkpoint, "--work-dir", tmp_path / "work", *missing)
