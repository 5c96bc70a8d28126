"""Imported before anything of mmsegmentation: says what to install where that is missing."""

import sys
from pathlib import Path

try:
    import paco.mmseg  # noqa: F401
except ImportError as error:
    raise SystemExit(f"{Path(sys.argv[0]).name}: {error}") from error
