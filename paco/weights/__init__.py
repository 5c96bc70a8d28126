"""Weights that ship with paco: NAME.pth, NAME.pt, NAME.py (their config), by the name paco://FILE.

``paco-classify`` and, once ``paco.mmpretrain`` is imported, the toolbox know such names.
"""

from pathlib import Path

__all__ = ["FOLDER", "SCHEME", "path_of"]

FOLDER = Path(__file__).parent
SCHEME = "paco://"


def path_of(name: str) -> str:
    """The path of a file that is called ``paco://FILE``; any other name is a path already."""
    return str(FOLDER / name.removeprefix(SCHEME)) if name.startswith(SCHEME) else name
