"""Builds libpaco and paco._C with CMake; everything else about the package is in pyproject.toml.

    pip install --no-build-isolation -e .

Environment, as OpenMMLab's packages have it:
    FORCE_CUDA=1          build the CUDA kernels, also on a machine without a GPU
    PACO_CUDA=0 or 1      never or always build them; the default is to do so where PyTorch has
                          CUDA and nvcc is found
    TORCH_CUDA_ARCH_LIST  the GPUs to build for, e.g. "8.0 9.0+PTX"; read by CMake
    MAX_JOBS              how many compilers to run at once; the default is one a core
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

try:
    import torch
except ImportError as error:
    raise SystemExit(
        "libpaco must be built against the torch that will load it: install torch first, "
        "then add --no-build-isolation to pip install"
    ) from error
if tuple(map(int, re.findall(r"\d+", torch.__version__)[:2])) < (2, 11):
    raise SystemExit(f"libpaco needs torch 2.11 or later, got {torch.__version__}")

ROOT = Path(__file__).parent.resolve()
# Kept between builds, which makes the next one incremental; setuptools' own folder is temporary.
BUILD = ROOT / "build" / sys.implementation.cache_tag


def cuda_option() -> str:
    choice = os.environ.get("PACO_CUDA", os.environ.get("FORCE_CUDA", "").replace("0", ""))
    options = {"": "AUTO", "0": "OFF", "1": "ON"}
    if choice not in options:
        raise SystemExit(f"PACO_CUDA and FORCE_CUDA must be 0 or 1, got {choice!r}")
    return options[choice]


class CMakeBuild(build_ext):
    """Installs the CMake project into the package: paco/_C*.so, paco/lib, paco/include, ..."""

    def run(self) -> None:
        # CMake and Ninja from pip are there even where the environment is not activated.
        os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
        if shutil.which("cmake") is None:
            raise SystemExit("libpaco is built with CMake 3.25 or later: pip install cmake ninja")
        prefix = self._source_prefix if self.inplace else self._wheel_prefix
        jobs = os.environ.get("MAX_JOBS") or str(os.cpu_count())
        cmake = [
            *("cmake", "-S", str(ROOT), "-B", str(BUILD)),
            *(["-G", "Ninja"] if shutil.which("ninja") else []),
            f"-DTorch_DIR={torch.utils.cmake_prefix_path}/Torch",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DPACO_CUDA={cuda_option()}",
            "-DPACO_PYTHON=ON",
            "-DCMAKE_INSTALL_LIBDIR=lib",
        ]
        subprocess.run(cmake, check=True)
        subprocess.run(["cmake", "--build", str(BUILD), "--parallel", jobs], check=True)
        subprocess.run(["cmake", "--install", str(BUILD), "--prefix", prefix], check=True)

    # Setuptools asks for these: the files a wheel gets, and where an editable install has them.

    def get_outputs(self) -> list[str]:
        return [str(self._wheel_prefix / path) for path in self._installed_files()]

    def get_output_mapping(self) -> dict[str, str]:
        return {
            str(self._wheel_prefix / path): str(self._source_prefix / path)
            for path in self._installed_files()
            if self.inplace
        }

    @property
    def _source_prefix(self) -> Path:
        return ROOT / "paco"

    @property
    def _wheel_prefix(self) -> Path:
        return Path(self.build_lib).resolve() / "paco"

    def _installed_files(self) -> list[Path]:
        prefix = self._source_prefix if self.inplace else self._wheel_prefix
        manifest = (BUILD / "install_manifest.txt").read_text().splitlines()
        return [Path(path).relative_to(prefix) for path in manifest]


setup(ext_modules=[Extension("paco._C", sources=[])], cmdclass={"build_ext": CMakeBuild})
