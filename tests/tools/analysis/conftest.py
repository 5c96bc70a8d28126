"""The scripts of tools/analysis as modules, and predictions for them to read."""

import pickle
import sys
from pathlib import Path

import pytest

import paco.mmpretrain  # noqa: F401  (mends the toolbox's imports)

# isort: split
import torch
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "configs" / "digits_lt" / "paco.py"
sys.path.insert(0, str(ROOT / "tools" / "analysis"))


def write_predictions(path: Path, labels: Tensor, probabilities: Tensor, first: int = 0) -> Path:
    """Writes a file as tools/test.py --out does; the images are numbered from ``first`` on."""
    samples = [
        dict(gt_label=label[None].clone(), pred_score=row.clone(), sample_idx=first + i)
        for i, (label, row) in enumerate(zip(labels, probabilities, strict=True))
    ]
    path.write_bytes(pickle.dumps(samples))
    return path


@pytest.fixture
def labels() -> Tensor:
    return torch.arange(10).repeat(30)


@pytest.fixture
def predictions(tmp_path, labels) -> Path:
    logits = torch.randn(len(labels), 10) + 2 * torch.nn.functional.one_hot(labels, 10)
    return write_predictions(tmp_path / "run.pkl", labels, logits.softmax(dim=1))


@pytest.fixture
def baseline(tmp_path, labels) -> Path:
    logits = torch.randn(len(labels), 10) + torch.nn.functional.one_hot(labels, 10)
    return write_predictions(tmp_path / "baseline.pkl", labels, logits.softmax(dim=1))


def check_png(path: Path, figure) -> None:
    """The file is the figure: a PNG of its size, with something drawn in it."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.size == tuple(round(150 * inches) for inches in figure.get_size_inches())
        assert len(image.convert("L").getcolors()) > 10


def legend_of(figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]
