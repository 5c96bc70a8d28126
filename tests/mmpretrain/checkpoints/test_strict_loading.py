from pathlib import Path

import pytest
import torch
from helpers.small_models import NUM_CLASSES, build, model_config
from mmengine.config import Config
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS

from paco.mmpretrain import compat, load_trained_model


def save(path: Path, model: torch.nn.Module, prefix: str = "") -> str:
    state = {prefix + name: value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state}, path)
    return str(path)


def baseline_config() -> dict:
    """The same network with a head that has class centers only."""
    config = model_config()
    config |= dict(
        type="ImageClassifier",
        head=dict(type="ClassCentersHead", num_classes=NUM_CLASSES, in_channels=64),
    )
    del config["momentum"]
    return config


def load(config: dict, path: str, for_training: bool = False) -> ImageClassifier:
    return load_trained_model(Config(dict(model=config)), path, for_training=for_training)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("for_training", [False, True])
def test_a_checkpoint_of_the_model_is_loaded(tmp_path, prefix, for_training):
    trained = build(model_config()).eval()
    model = load(model_config(), save(tmp_path / "a.pth", trained, prefix), for_training)
    images = torch.randn(3, 1, 8, 8)
    assert torch.equal(model(images), trained(images))
    if for_training:
        assert torch.equal(model.head.centers.log_prior, trained.head.centers.log_prior)


def test_a_checkpoint_is_read_once_and_names_the_classes(tmp_path, monkeypatch):
    path = tmp_path / "a.pth"
    meta = dict(dataset_meta=dict(classes=list("abcde")))
    torch.save(dict(state_dict=build(model_config()).state_dict(), meta=meta), path)
    reads = []
    read = torch.load
    monkeypatch.setattr(torch, "load", lambda file, **how: reads.append(file) or read(file, **how))
    model = load(model_config(), path)
    assert len(reads) == 1
    assert compat.class_names(model) == list("abcde")


def test_what_only_training_uses_may_differ_unless_that_is_wanted(tmp_path):
    paco, baseline = build(model_config()), build(baseline_config())
    shorter = model_config()
    shorter["head"]["queue_size"] = 10
    paco_file = save(tmp_path / "paco.pth", paco)
    read = load(baseline_config(), paco_file)
    assert torch.equal(read.head.centers.weight, paco.head.centers.weight)
    load(shorter, paco_file)
    with pytest.raises(ValueError, match=r"tensors .*: head\.step\.queue\."):
        load(shorter, paco_file, for_training=True)
    baseline_file = save(tmp_path / "baseline.pth", baseline)
    load(model_config(), baseline_file)
    with pytest.raises(ValueError, match=r"are missing: head\.projector\.[^,]*, .*, \.\.\.$"):
        load(model_config(), baseline_file, for_training=True)


def change_depth(config: dict) -> None:
    config["backbone"]["depth"] = 14


def change_classes(config: dict) -> None:
    config["head"]["num_classes"] = NUM_CLASSES + 1


def change_head(config: dict) -> None:
    config["head"] = dict(type="LinearClsHead", num_classes=NUM_CLASSES, in_channels=64)


@pytest.mark.parametrize(
    ("change", "of_the_config", "of_the_checkpoint"),
    [
        (change_depth, "are missing: backbone", "have no place in the model: backbone"),
        (
            change_classes,
            r"2 tensors have another shape: head\.centers\.weight, head\.centers\.bias$",
            r"2 tensors have another shape: head\.centers\.weight, head\.centers\.bias$",
        ),
        (change_head, r"are missing: head\.fc", r"are missing: head\.centers"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(
    tmp_path, change, of_the_config, of_the_checkpoint
):
    config = baseline_config()
    other_config = baseline_config()
    change(other_config)
    for reader, written, message in [
        (other_config, config, of_the_config),
        (config, other_config, of_the_checkpoint),
    ]:
        path = save(tmp_path / "other.pth", MODELS.build(written))
        with pytest.raises(
            ValueError, match=rf"other\.pth is not of the config's model: .*{message}"
        ):
            load(reader, path)
