"""tools/convert_reference.py, in this process: it has nothing that outlives it."""

import argparse
import sys
import types
from pathlib import Path

import pytest

import paco.mmpretrain  # noqa: F401  (mends the toolbox's imports)

# isort: split
import torch
from helpers.digits_runs import CONFIGS
from helpers.reference_layout import (
    CifarResNet,
    ProCoCriterion,
    ProCoReferenceModel,
    ReferenceModel,
)
from helpers.refusals import refused
from mmpretrain import get_model

from paco.mmpretrain import CIFAR100LT
from paco.tools import convert_reference

CONFIG = CONFIGS / "cifar100_lt" / "paco_if100.py"


@pytest.fixture
def convert(tmp_path):
    """Writes this object to a file and converts that; returns the file that it becomes."""

    def run(checkpoint: object, config: Path = CONFIG) -> Path:
        source, out = tmp_path / "moco_ckpt.pth.tar", tmp_path / "converted.pth"
        torch.save(checkpoint, source)
        convert_reference.main([str(config), str(source), str(out)])
        return out

    return run


def test_the_converted_checkpoint_has_the_same_logits(convert, capsys):
    reference = ReferenceModel(CifarResNet(5, 32), 100, 1024, gpaco=False)
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9)
    out = convert(
        {
            "epoch": 400,
            "arch": "resnet32",
            "acc": torch.tensor(52.0),
            "state_dict": {f"module.{k}": v for k, v in reference.state_dict().items()},
            "optimizer": optimizer.state_dict(),
        }
    )
    assert capsys.readouterr().out.endswith("has no use for: linear_k\n")
    model = get_model(str(CONFIG), pretrained=str(out))
    # paco-classify names them; the images, which are not here, need not be there.
    assert model._dataset_meta["classes"] == CIFAR100LT.METAINFO["classes"]
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        value, expected = model(images), reference.logits(images)
    assert expected.std() > 1e-3
    assert (value - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_checkpoint_that_does_not_fit_is_refused(convert, tmp_path, capsys):
    state = ReferenceModel(CifarResNet(1, 32), 100, 1024, gpaco=False).state_dict()
    with refused(capsys, r"[1-9]\d+ tensors .*backbone\."):
        convert({"state_dict": state})
    with refused(capsys, "has no state_dict"):
        convert({"model": state})
    assert not (tmp_path / "converted.pth").exists()


def test_the_arguments_of_the_command_line_are_read_over(convert, tmp_path, capsys):
    """The published MAE checkpoints hold them, and no state_dict."""
    args = argparse.Namespace(model="vit_base_patch16", drop_path=0.1)
    with refused(capsys, r"\.tar has no state_dict, but model, args; the MAE vis"):
        convert({"model": {}, "args": args})
    reference = ReferenceModel(CifarResNet(5, 32), 100, 1024, gpaco=False)
    assert convert({"state_dict": reference.state_dict(), "args": args}).exists()


def test_only_weights_are_loaded(convert, tmp_path, capsys):
    with refused(capsys, r"\.tar is no checkpoint .*: Unsupported global: .*Path"):
        convert({"state_dict": {}, "args": Path("a")})
    assert not (tmp_path / "converted.pth").exists()


def test_a_checkpoint_of_proco_brings_its_estimates(convert, monkeypatch):
    """They lie in an object of a class that is not here; nothing of it is run."""
    config = CONFIGS / "cifar100_lt" / "proco_if100.py"
    reference = ProCoReferenceModel(CifarResNet(5, 1), 100, 128, hidden=512, cosine=False)
    criterion = ProCoCriterion(100, 128)
    module = types.ModuleType("loss.proco")
    for name in ("ProCoLoss", "EstimatorCV"):
        setattr(module, name, type(name, (), {"__module__": "loss.proco"}))
    saved = module.ProCoLoss()
    for name, estimator in vars(criterion).items():
        setattr(saved, name, module.EstimatorCV())
        vars(getattr(saved, name)).update(vars(estimator))
    monkeypatch.setitem(sys.modules, "loss", types.ModuleType("loss"))
    monkeypatch.setitem(sys.modules, "loss.proco", module)
    checkpoint = {
        "epoch": 200,
        "arch": "resnet32",
        "state_dict": {f"module.{k}": v for k, v in reference.state_dict().items()},
        "criterion_scl": saved,
    }
    out = convert(checkpoint, config)
    model = get_model(str(config), pretrained=str(out))
    assert torch.equal(model.head.contrast_loss.older_mean, criterion.estimator_old.Ave)
    assert torch.equal(model.head.contrast_loss.younger_count, criterion.estimator.Amount.long())
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        value, expected = model(images), reference.logits(images)
    assert (value - expected).abs().max() <= 1e-5 * expected.abs().max()
