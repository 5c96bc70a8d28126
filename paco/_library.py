"""Loads libpaco, after a look at which torch it was built for."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import torch

_REBUILD = (
    "Build it for the torch installed here: in a checkout of libpaco run "
    "`pip install --no-build-isolation --no-deps -e .`"
)


def _check_torch_version() -> str:
    """Returns libpaco's version if it was built for the running torch.

    CMake leaves build_info.json beside the library. It is read before anything is loaded, because
    what the dynamic linker says of two torch versions is a missing symbol, or nothing.
    """
    path = Path(__file__).parent / "lib" / "build_info.json"
    if not path.exists():
        raise ImportError(f"libpaco is not built: there is no {path}. {_REBUILD}")
    info = json.loads(path.read_text())
    # The release alone counts, 2.13.0 of 2.13.0+cpu and 2.14.0 of 2.14.0.dev20260101.
    running = re.split(r"[^\d.]|\.dev", torch.__version__)[0]
    if info["torch_version"] != running:
        raise ImportError(
            f"libpaco {info['version']} was built for torch {info['torch_version']}, but this is "
            f"torch {torch.__version__}. {_REBUILD}"
        )
    return info["version"]


__version__ = _check_torch_version()

try:
    import paco._C as _C
except ImportError as error:
    raise ImportError(
        f"libpaco {__version__} does not load under torch {torch.__version__} and Python "
        f"{sys.version_info.major}.{sys.version_info.minor}: {error}. {_REBUILD}"
    ) from error


def build_info() -> dict[str, Any]:
    """How the loaded libpaco was built.

    Returns:
        version, torch_version, cuda_version (empty without CUDA kernels), compiler, cxx11_abi,
        cpu_capabilities (instruction sets with kernels of their own) and build_type.
    """
    return _C.build_info()
