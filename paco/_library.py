"""Loads libpaco, after a look at which torch it was built for."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import torch

_FOLDER = Path(__file__).parent / "lib"


def _minor_version(version: str) -> str:
    """2.13 of 2.13.0, 2.13.1+cpu and 2.13.0.dev20260101: what has an ABI of its own."""
    return ".".join(re.findall(r"\d+", version)[:2])


def wheel_page() -> str:
    """The index page with the wheels for the torch that runs."""
    device = "cu" + torch.version.cuda.replace(".", "") if torch.version.cuda else "cpu"
    return f"torch-{_minor_version(torch.__version__)}+{device}.html"


def what_to_do() -> str:
    """How to get a libpaco for the torch that runs, as sentences for an error."""
    # The wheel for the CPU serves a GPU too, by PyTorch's operators, where its CUDA has no page.
    pages = list(dict.fromkeys([wheel_page(), wheel_page().split("+")[0] + "+cpu.html"]))
    places = " ".join(f"--find-links <folder or address of the pages>/{page}" for page in pages)
    return (
        "Install the wheel for this torch, which the page "
        f"{' or, where there is none for its CUDA, '.join(pages)} lists: "
        f"`pip install --force-reinstall --no-deps libpaco {places}`. "
        "Or build it: in a checkout of libpaco run "
        "`pip install --no-build-isolation --no-deps -e .`"
    )


def _check_torch_version() -> str:
    """Returns libpaco's version if it was built for the running torch.

    CMake leaves build_info.json beside the library. It is read before anything is loaded, because
    what the dynamic linker says of two torch versions is a missing symbol, or nothing.
    """
    path = _FOLDER / "build_info.json"
    if not path.exists():
        raise ImportError(f"libpaco is not built: there is no {path}. {what_to_do()}")
    info = json.loads(path.read_text())
    built_for = _minor_version(info["torch_version"])
    if built_for != _minor_version(torch.__version__):
        raise ImportError(
            f"libpaco {info['version']} was built for torch {built_for}, but this is torch "
            f"{torch.__version__}. {what_to_do()}"
        )
    cuda, running = info["cuda_version"], torch.version.cuda
    if cuda and cuda.split(".")[0] != (running or "").split(".")[0]:
        raise ImportError(
            f"libpaco {info['version']} was built for CUDA {cuda}, but this is torch "
            f"{torch.__version__}, which has {f'CUDA {running}' if running else 'no CUDA'}. "
            f"{what_to_do()}"
        )
    return info["version"]


__version__ = _check_torch_version()

try:
    torch.ops.load_library(_FOLDER / "libpaco.so")
except OSError as error:
    raise ImportError(
        f"libpaco {__version__} does not load under torch {torch.__version__} and Python "
        f"{sys.version_info.major}.{sys.version_info.minor}: {error}. {what_to_do()}"
    ) from error


def build_info() -> dict[str, Any]:
    """How the loaded libpaco was built, and what it uses of this processor.

    Returns:
        version, torch_version, cuda_version (empty without CUDA kernels), compiler, cxx11_abi,
        cpu_capabilities (instruction sets with kernels of their own), cpu_capability (the one of
        them that is used) and build_type.

    Raises:
        ValueError: the environment variable PACO_CPU_CAPABILITY names no instruction set.
    """
    names = [field.name for field in torch.ops.paco.build_info.default._schema.returns]
    return dict(zip(names, torch.ops.paco.build_info(), strict=True))
