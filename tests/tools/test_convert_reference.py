"""tools/convert_reference.py, in this process: it has nothing that outlives it."""

import argparse
from pathlib import Path

import pytest

import paco.mmpretrain  # noqa: F401  (mends the toolbox's imports)

# isort: split
import torch
from helpers.digits_runs import CONFIGS
from helpers.reference_layout import CifarResNet, ReferenceModel
from mmpretrain import get_model

from paco.mmpretrain import CIFAR100LT
from paco.tools import convert_reference

CONFIG = CONFIGS / "cifar100_lt" / "paco_if100.py"


@pytest.fixture
def convert(tmp_path):
    """Writes this object to a file and converts that; returns the file that it becomes."""

    def run(checkpoint: object) -> Path:
        source, out = tmp_path / "moco_ckpt.pth.tar", tmp_path / "converted.pth"
        torch.save(checkpoint, source)
        convert_reference.main([str(CONFIG), str(source), str(out)])
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


def test_a_checkpoint_that_does_not_fit_is_refused(convert, tmp_path):
    state = ReferenceModel(CifarResNet(1, 32), 100, 1024, gpaco=False).state_dict()
    with pytest.raises(SystemExit, match=r"convert_reference.py: [1-9]\d+ tensors .*backbone\."):
        convert({"state_dict": state})
    with pytest.raises(SystemExit, match="has no state_dict"):
        convert({"model": state})
    assert not (tmp_path / "converted.pth").exists()


def test_the_arguments_of_the_command_line_are_read_over(convert, tmp_path):
    """The published MAE checkpoints hold them, and no state_dict."""
    args = argparse.Namespace(model="vit_base_patch16", drop_path=0.1)
    with pytest.raises(SystemExit, match=r"\.tar has no state_dict, but model, args; the MAE vis"):
        convert({"model": {}, "args": args})
    reference = ReferenceModel(CifarResNet(5, 32), 100, 1024, gpaco=False)
    assert convert({"state_dict": reference.state_dict(), "args": args}).exists()


def test_only_weights_are_loaded(convert, tmp_path):
    with pytest.raises(SystemExit, match=r"\.tar is no checkpoint .*: Unsupported global: .*Path"):
        convert({"state_dict": {}, "args": Path("a")})
    assert not (tmp_path / "converted.pth").exists()
