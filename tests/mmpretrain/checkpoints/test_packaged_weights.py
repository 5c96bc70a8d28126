"""The weights that ship with paco: whole, found by name from anywhere, right on images."""

import csv
import hashlib
from pathlib import Path

import mmpretrain
import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader

from paco.mmpretrain import CheckpointError
from paco.weights import FOLDER as WEIGHTS

NAMES = [path.stem for path in WEIGHTS.glob("*.pth")]
IMAGES = Path(__file__).parents[2] / "data" / "cifar100"  # the first test image of each class


def test_the_checksums_are_those_of_the_files():
    lines = (WEIGHTS / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert sums.keys() == {f"{name}{suffix}" for name in NAMES for suffix in (".pth", ".pt")}
    for name, digest in sums.items():
        assert hashlib.sha256((WEIGHTS / name).read_bytes()).hexdigest() == digest


def test_the_hub_lists_every_one():
    assert sorted(mmpretrain.list_models("paco")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_hundred_images_are_predicted_as_recorded(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with (IMAGES / f"{name}.csv").open() as file:
        recorded = list(csv.DictReader(file))
    inferencer = mmpretrain.ImageClassificationInferencer(name, pretrained=True)
    files = [str(IMAGES / f"{row['image']}.png") for row in recorded]
    results = inferencer(files, batch_size=100)
    assert len(results) == 100
    for row, result in zip(recorded, results, strict=True):
        assert result["pred_class"] == row["predicted"], row["image"]
        assert result["pred_score"] == pytest.approx(float(row["probability"]), abs=2e-3)
    right = sum(row["image"] == row["predicted"] for row in recorded)
    assert right >= 40  # of a hundred, one a class


@pytest.mark.parametrize("name", NAMES)
def test_torchscript_is_the_same_classifier(name):
    model = mmpretrain.get_model(name, pretrained=True)
    images = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        scripted = torch.jit.load(WEIGHTS / f"{name}.pt")(images)
        torch.testing.assert_close(scripted, model(images), rtol=1e-4, atol=1e-4)


def test_a_file_that_does_not_ship_is_an_error_that_names_it():
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*weights/nothing\.pth"):
        CheckpointLoader.load_checkpoint("paco://nothing.pth")
