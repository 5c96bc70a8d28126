"""Image files for data sets to read."""

from pathlib import Path

import cv2
import numpy as np
import torch


def write_image(path: Path, height: int = 40, width: int = 48) -> np.ndarray:
    """Writes a random image, PNG or JPEG by its name, and returns its pixels, BGR."""
    pixels = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return pixels
