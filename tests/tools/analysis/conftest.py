"""Predictions of two runs for the scripts to read."""

from pathlib import Path

import pytest

import paco.mmpretrain  # noqa: F401  (mends the toolbox's imports)

# isort: split
import torch
from helpers.figures import write_predictions
from torch import Tensor


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
