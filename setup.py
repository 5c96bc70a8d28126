"""Builds libpaco and paco._C with CMake, and says which torch they need; all else about the package
is in pyproject.toml.

    pip install --no-build-isolation -e .

Environment, as OpenMMLab's packages have it:
    FORCE_CUDA=1          build the CUDA kernels, also on a machine without a GPU
    PACO_CUDA=0 or 1      never or always build them; the default is to do so where PyTorch has
                          CUDA and nvcc is found (CUDACXX, CUDA_HOME, PATH, /usr/local/cuda)
    TORCH_CUDA_ARCH_LIST  the GPUs to build for, e.g. "8.0 9.0+PTX"; read by CMake
    CMAKE_ARGS            more options of CMake
    MAX_JOBS              how many compilers to run at once; the default is one a core
"""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

# Pip tries to build where no wheel fits, and shows nothing else of why it did.
NO_WHEEL = (
    f"No wheel of libpaco for Python {platform.python_version()} on {platform.machine()} was found "
    "or asked for"
)


def check_system() -> None:
    """Says what to do where the build cannot succeed; what it needs of torch, CMake says."""
    if sys.version_info >= (3, 14):
        raise SystemExit(
            f"libpaco is for Python 3.10 to 3.13, this is {platform.python_version()}: make an "
            "environment with one of them (TorchScript, which C++ programs load, does not run on "
            "Python 3.14)"
        )
    if sys.platform != "linux":
        raise SystemExit(
            f"libpaco is for Linux, this is {sys.platform}: use WSL 2 on Windows, a Linux "
            "container or machine elsewhere"
        )
    if platform.libc_ver()[0] != "glibc":
        raise SystemExit(
            "libpaco needs a system with glibc, as PyTorch's packages do: use Debian's image in "
            "place of Alpine's, for example"
        )
    if not shutil.which(os.environ.get("CXX", "c++")) and not shutil.which("g++"):
        raise SystemExit(
            f"{NO_WHEEL}, and to compile it there is no g++: apt-get install g++ (11 or newer), or "
            "take a Python that there is a wheel for (docs/install.md)"
        )


check_system()
try:
    import torch
    from torch.utils.cpp_extension import CUDA_HOME
except ImportError as error:
    raise SystemExit(
        f"{NO_WHEEL}, and what is compiled must be against the torch that will load it: install "
        "torch first, then add --no-build-isolation to pip install, or see docs/install.md for the "
        f"wheels there are ({error})"
    ) from error

ROOT = Path(__file__).parent.resolve()
CMAKE_LISTS = (ROOT / "CMakeLists.txt").read_text()
VERSION = re.search(r"^project\(Paco VERSION (\S+)", CMAKE_LISTS, re.MULTILINE)[1]
OLDEST_TORCH = re.search(r"^set\(PACO_OLDEST_TORCH (\S+)\)", CMAKE_LISTS, re.MULTILINE)[1]
# An sdist is for every torch; what is built, for the minor version that it is built against.
TORCH = ".".join(re.findall(r"\d+", torch.__version__)[:2])
OF_EVERY_TORCH = "sdist" in sys.argv


def has_cuda_kernels() -> bool:
    choice = os.environ.get("PACO_CUDA", os.environ.get("FORCE_CUDA", "").replace("0", ""))
    if choice not in ("", "0", "1"):
        raise SystemExit(f"PACO_CUDA and FORCE_CUDA must be 0 or 1, got {choice!r}")
    if choice == "0" or (not choice and not torch.version.cuda):
        return False
    if not torch.version.cuda:
        raise SystemExit(
            f"CUDA kernels need a torch built with CUDA, and torch {torch.__version__} is not: "
            "install another, or leave PACO_CUDA and FORCE_CUDA out"
        )
    nvcc = os.environ.setdefault("CUDACXX", f"{CUDA_HOME}/bin/nvcc")
    if shutil.which(nvcc):
        says = subprocess.run(
            [nvcc, "--version"], capture_output=True, text=True, check=True
        ).stdout
        version = re.search(r"release (\S+),", says)[1]
        if version.split(".")[0] == torch.version.cuda.split(".")[0]:
            return True
        problem = f"{nvcc} is of CUDA {version} and torch of CUDA {torch.version.cuda}"
    else:
        problem = "there is no nvcc"
    remedy = f"put nvcc of CUDA {torch.version.cuda} on PATH, or name its toolkit in CUDA_HOME"
    if choice:
        raise SystemExit(f"libpaco's CUDA kernels cannot be built: {problem}; {remedy}")
    print(
        f"libpaco is built without CUDA kernels: {problem}; {remedy}. Without them its operators "
        "are made of PyTorch's on a GPU, which takes more time and memory.",
        file=sys.stderr,
    )
    return False


WITH_CUDA = has_cuda_kernels()
DEVICE = "cu" + torch.version.cuda.replace(".", "") if WITH_CUDA else "cpu"
# Kept between builds, which makes the next one incremental; setuptools' own folder is temporary.
BUILD = ROOT / "build" / f"{sys.implementation.cache_tag}-torch{TORCH}-{DEVICE}"


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
            f"-DPACO_CUDA={'ON' if WITH_CUDA else 'OFF'}",
            "-DPACO_PYTHON=ON",
            "-DCMAKE_INSTALL_LIBDIR=lib",
            *shlex.split(os.environ.get("CMAKE_ARGS", "")),
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


class PackagedRecipes(build_py):
    """Gives each recipe in the wheel a second name, made of its folder's and its own.

    mim looks for a config by the name of its file alone, and folders share names: paco_r50.py.
    """

    def run(self) -> None:
        if not self.editable_mode:  # files that an earlier build left, and that are gone since
            shutil.rmtree(Path(self.build_lib, "paco"), ignore_errors=True)
        super().run()
        recipes = Path(self.build_lib, "paco", ".mim", "configs")
        if self.editable_mode or not recipes.exists():
            return
        for index in recipes.glob("*/metafile.yml"):
            folder = index.parent
            text = index.read_text()
            for name in re.findall(rf"Config: configs/{folder.name}/(\w+)\.py", text):
                alias = folder / f"{name}_{folder.name}.py"
                alias.write_text(f'_base_ = "./{name}.py"\n')
            pattern = rf"(Config: configs/{folder.name}/\w+)\.py"
            index.write_text(re.sub(pattern, rf"\1_{folder.name}.py", text))


setup(
    version=VERSION if OF_EVERY_TORCH else f"{VERSION}+pt{TORCH}{DEVICE}",
    install_requires=[f"torch>={OLDEST_TORCH}" if OF_EVERY_TORCH else f"torch=={TORCH}.*"],
    ext_modules=[Extension("paco._C", sources=[])],
    cmdclass={"build_ext": CMakeBuild, "build_py": PackagedRecipes},
)
