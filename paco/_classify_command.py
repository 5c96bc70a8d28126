"""The console command paco-classify: hands over to the C++ program inside the package."""

import os
import sys
from pathlib import Path

from . import weights


def main() -> None:
    program = Path(__file__).parent / "bin" / "paco-classify"
    if not program.exists():
        raise SystemExit(
            "paco-classify: this libpaco was built where there was no OpenCV, CLI11 or nlohmann's "
            "JSON: build it where they are (docs/install.md), or use paco.Classifier"
        )
    os.execv(program, [str(program), *map(weights.path_of, sys.argv[1:])])
