"""paco-classify in a process of its own, and files for it."""

import json
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

import paco
from paco import deploy
from paco.image_metadata import image_metadata

TOOL = Path(paco.__file__).parent / "bin" / "paco-classify"
needs_the_tool = pytest.mark.skipif(
    # .ci/run installs OpenCV, so there the tool has to be built.
    not TOOL.exists() and "CI" not in os.environ,
    reason="paco-classify was not built: OpenCV, CLI11 or nlohmann's JSON was not found",
)
# One thread, which does not wait for others on a machine that is shared.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def classify(*arguments, status=0) -> subprocess.CompletedProcess:
    result = subprocess.run(
        [TOOL, *map(str, arguments)], capture_output=True, text=True, env=ENVIRONMENT, timeout=300
    )
    assert result.returncode == status, result.stdout + result.stderr
    return result


def all_logits(*arguments, classes: int, status: int = 0) -> dict[str, torch.Tensor]:
    """The logits of every image, by its path."""
    output = classify("--json", "--top-k", classes, *arguments, status=status).stdout
    logits = {}
    for line in map(json.loads, output.splitlines()):
        row = torch.full((classes,), torch.nan)
        for entry in line["top"]:
            # JSON has no infinity.
            row[entry["index"]] = -torch.inf if entry["logit"] is None else entry["logit"]
        best = row[[entry["index"] for entry in line["top"]]].tolist()
        assert best == sorted(best, reverse=True)
        assert sum(entry["probability"] for entry in line["top"]) == pytest.approx(1, abs=1e-5)
        logits[line["image"]] = row
    return logits


def pixel_model(path: Path, channels: str = "GRAY", **metadata) -> Path:
    """A file whose logits are the pixels of images of 8 by 8."""
    depth = 1 if channels == "GRAY" else 3
    texts = image_metadata(
        metadata.pop("classes", [str(i) for i in range(64 * depth)]),
        mean=[0.0] * depth,
        std=[50.0] * depth,
        channels=channels,
    )
    deploy.export_classifier(nn.Flatten(), torch.randn(2, depth, 8, 8), path, texts | metadata)
    return path


def write_noise(path: Path, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels[..., 0] if path.suffix == ".pgm" else pixels)
    return path
