"""Files of predictions to draw, and the checks that every figure has to pass."""

import pickle
from pathlib import Path

from PIL import Image
from torch import Tensor

CONFIG = Path(__file__).parents[2] / "configs" / "digits_lt" / "paco.py"


def write_predictions(path: Path, labels: Tensor, probabilities: Tensor, first: int = 0) -> Path:
    """Writes a file as tools/test.py --out does; the images are numbered from ``first`` on."""
    samples = [
        dict(gt_label=label[None].clone(), pred_score=row.clone(), sample_idx=first + i)
        for i, (label, row) in enumerate(zip(labels, probabilities, strict=True))
    ]
    path.write_bytes(pickle.dumps(samples))
    return path


def check_png(path: Path, figure) -> None:
    """The file is the figure: a PNG of its size, with something drawn in it."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.size == tuple(round(150 * inches) for inches in figure.get_size_inches())
        assert len(image.convert("L").getcolors()) > 10


def legend_of(figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]
