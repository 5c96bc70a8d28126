"""tools/test.py --out, in this process, on a model that was not trained."""

import json
import pickle
from pathlib import Path

import pytest

import paco.mmpretrain  # noqa: F401  (mends the toolbox's imports)

# isort: split
import torch
from helpers.digits_runs import CONFIGS
from helpers.refusals import refused
from mmengine.config import Config
from mmpretrain import get_model

from paco.tools import test as tool
from paco.tools.target_prior import set_target_prior

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


def test_a_target_prior_is_that_of_the_predictions(checkpoint, tmp_path):
    prior = tmp_path / "prior.json"
    numbers = [5, 0, 1, 2, 3, 4, 1.5, 2, 1, 1]
    names = dict(zip("0123456789", numbers, strict=True))
    # The order of the names in the file is of no concern.
    prior.write_text(json.dumps(dict(reversed(names.items()))))
    scores = []
    for options in ((), ("--target-prior", prior)):
        out = tmp_path / "predictions.pkl"
        run(CONFIG, checkpoint, "--work-dir", tmp_path / "work", "--out", out, *options)
        samples = pickle.loads(out.read_bytes())
        scores.append(torch.stack([sample["pred_score"] for sample in samples]))
    joint = scores[0].double() * torch.tensor(numbers)
    expected = joint / joint.sum(dim=1, keepdim=True)
    torch.testing.assert_close(scores[1].double(), expected, rtol=1e-5, atol=1e-7)
    assert (scores[1][:, 1] == 0).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1,\n 2,, 3]", "prior.json, line 2: no JSON"),
        ("[1, 2]", "a number for each of 10 classes, got 2"),
        ("3", "a number for each of 10 classes, got 3"),
        (json.dumps([1] * 9 + [-0.5]), r"class 9 \(9\) must have a finite number >= 0, got -0.5"),
        (json.dumps([1] * 9 + [True]), r"class 9 \(9\) .* got true"),
        (json.dumps([1] * 9 + ["a"]), r"class 9 \(9\) .* got \"a\""),
        ("[1, NaN, 1, 1, 1, 1, 1, 1, 1, 1]", r"class 1 \(1\) .* got NaN"),
        ("[1, Infinity, 1, 1, 1, 1, 1, 1, 1, 1]", r"class 1 \(1\) .* got Infinity"),
        (json.dumps([0] * 10), "some class must have a number above 0"),
        (json.dumps({str(c): 1 for c in range(9)}), "no number for the class 9"),
        (json.dumps({str(c): 1 for c in range(11)}), "no such class of the model: 10"),
        ('{"1": 1, "1": 2}', "a class more than once: 1"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_no_target_prior_is_refused(content, message, checkpoint, tmp_path):
    prior = tmp_path / "prior.json"
    if content is not None:
        prior.write_text(content)
    model = get_model(str(CONFIG))
    with pytest.raises(ValueError, match=rf"prior\.json.*{message.removeprefix('prior.json')}"):
        set_target_prior(model, prior, list("0123456789"))
    assert model.head.log_target_prior is None


def test_a_target_prior_that_is_refused_ends_the_test_in_a_sentence(checkpoint, tmp_path, capsys):
    options = ("--work-dir", tmp_path / "work", "--target-prior", tmp_path / "none.json")
    with refused(capsys, r"none\.json"):
        run(CONFIG, checkpoint, *options)


def test_an_ensemble_predicts_by_the_mean_of_the_logits(checkpoint, tmp_path):
    other = tmp_path / "other.pth"
    torch.save({"state_dict": get_model(str(CONFIG)).state_dict()}, other)
    predicted = {}
    for name, extra in {"one": (), "two": ("--with", CONFIG, other)}.items():
        for first in (checkpoint, other):
            out = tmp_path / f"{name}_{first.stem}.pkl"
            run(CONFIG, first, "--work-dir", tmp_path / "work", "--out", out, *extra)
            samples = pickle.loads(out.read_bytes())
            predicted[name, first.stem] = torch.stack([s["pred_score"] for s in samples])
    logits = predicted["one", "model"].log() + predicted["one", "other"].log()
    torch.testing.assert_close(predicted["two", "model"], (logits / 2).softmax(dim=1))
    # With itself a model is what it was.
    torch.testing.assert_close(predicted["two", "other"], predicted["one", "other"])


def test_models_that_see_other_pixels_are_no_ensemble(checkpoint, tmp_path, capsys):
    config = Config.fromfile(CONFIG)
    config.model.data_preprocessor = dict(mean=[1.0], std=[2.0])
    config.pop("data_preprocessor", None)
    config.dump(tmp_path / "other.py")
    others = ("--with", tmp_path / "other.py", checkpoint)
    with refused(capsys, r"models\[1\] prepares images with .*1\.0"):
        run(CONFIG, checkpoint, "--work-dir", tmp_path / "work", *others)


def test_a_checkpoint_of_another_model_is_refused(checkpoint, tmp_path, capsys):
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    other = tmp_path / "other.pth"
    renamed = {name.replace("backbone", "encoder"): value for name, value in state.items()}
    torch.save({"state_dict": renamed}, other)
    with refused(capsys, r"other\.pth is not .* are missing: backbone"):
        run(CONFIG, other, "--work-dir", tmp_path / "work")


def test_class_counts_that_nobody_knows_are_one_sentence(checkpoint, tmp_path, capsys):
    training = ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler")
    missing = ("--cfg-options", *(f"{name}=None" for name in training))
    with refused(capsys, r"LongTailMetric does not know .*; pass Long"):
        run(CONFIG, checkpoint, "--work-dir", tmp_path / "work", *missing)
