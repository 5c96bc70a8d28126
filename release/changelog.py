"""Checks that CHANGELOG.md, CMakeLists.txt and the installed package name one version."""

import re
from pathlib import Path

import paco

ROOT = Path(__file__).parents[1]


def main() -> None:
    (version,) = re.findall(
        r"^project\(Paco VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(), re.M
    )
    released = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    if released[0] != version:
        raise SystemExit(f"CHANGELOG.md begins with {released[0]}, CMakeLists.txt has {version}")
    if paco.__version__ != version:
        raise SystemExit(f"paco {paco.__version__} is installed, CMakeLists.txt has {version}")
    print(f"version {version}")


if __name__ == "__main__":
    main()
