"""The look of the figures: colours that colour-blind readers can tell apart, and the PNG file."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from matplotlib.figure import Figure

from paco._files import whole_file

# Okabe and Ito's, the darker ones first. Markers and dashes tell the runs apart without colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)))
GREY = "#666666"
DPI = 150

# For class names in Chinese, Japanese and Korean, which matplotlib's own font lacks.
CJK = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
    "Hiragino Sans",
    "Yu Gothic",
    "Malgun Gothic",
    "Arial Unicode MS",
)


def fonts() -> list[str]:
    """Matplotlib's own font, and behind it those of CJK that this machine has."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in CJK if name in installed)]


def drawable(names: Mapping[int, str]) -> dict[int, str]:
    """Class names by class, or the classes' numbers where no font here has the characters."""
    known: set[int] = set()
    for font in map(font_manager.findfont, fonts()):
        known |= font_manager.get_font(font).get_charmap().keys()
    without = {c for c, name in names.items() if not set(map(ord, name)) <= known}
    if without:
        print(
            f"{len(without)} class names are drawn as numbers, because no font here has their "
            "characters: install one, such as Debian's fonts-noto-cjk",
            file=sys.stderr,
        )
    return {c: f"class {c}" if c in without else name for c, name in names.items()}


matplotlib.rcParams.update(
    {
        "font.family": fonts(),
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "lines.linewidth": 1.4,
        "lines.markersize": 4,
    }
)


def new(width: float, height: float) -> Figure:
    """An empty figure of this size in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: Path) -> None:
    with whole_file(path) as file:
        figure.savefig(file, dpi=DPI, format="png")
    print(path)


def names_of(paths: list[Path]) -> list[str]:
    """The runs' names in a legend: the files' stems, or the paths where two stems agree."""
    stems = [path.stem for path in paths]
    names = stems if len(set(stems)) == len(stems) else [str(path) for path in paths]
    if len(names) > len(COLOURS):
        raise ValueError(f"{len(COLOURS)} runs at most can be told apart, got {len(names)}")
    return names


def add_out_argument(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path(default), help=f"the figure, a PNG file ({default})"
    )
