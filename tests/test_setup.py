"""What setup.py says where libpaco cannot be built, before anything is compiled."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
CUDA = "import torch; torch.version.cuda = '13.0'"
NO_NVCC = CUDA + "; import torch.utils.cpp_extension as e; e.CUDA_HOME = None"


def build(setting: str, **environment: str) -> subprocess.CompletedProcess:
    """Runs setup.py --version after a few lines that make this another machine."""
    lines = [
        "import sys, setuptools.command.build_ext, setuptools.command.build_py",
        setting,
        "sys.argv[:] = ['setup.py', '--version']",
        "__file__ = 'setup.py'",
        "exec(open(__file__).read())",
    ]
    kept = {name: value for name, value in os.environ.items() if "CUDA" not in name}
    return subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**kept, **environment},
    )


@pytest.mark.parametrize(
    ("setting", "environment", "words"),
    [
        ("sys.version_info = (3, 14, 0)", {}, "is for Python 3.10 to 3.13"),
        ("sys.platform = 'win32'", {}, "use WSL 2 on Windows"),
        ("sys.platform = 'darwin'", {}, "use WSL 2 on Windows, a Linux container"),
        ("import platform; platform.libc_ver = lambda: ('', '')", {}, "a system with glibc"),
        ("", {"PATH": "/nowhere"}, "to compile it there is no g++: apt-get install g++"),
        ("sys.modules['torch'] = None", {}, "install torch first"),
        (
            "import platform; platform.machine = lambda: 'aarch64'; sys.modules['torch'] = None",
            {},
            f"No wheel of libpaco for Python {platform.python_version()} on aarch64",
        ),
        ("", {"PACO_CUDA": "yes"}, "must be 0 or 1, got 'yes'"),
        ("import torch; torch.version.cuda = None", {"PACO_CUDA": "1"}, "a torch built with CUDA"),
        (NO_NVCC, {"PACO_CUDA": "1"}, "there is no nvcc; put nvcc of CUDA 13.0 on PATH"),
    ],
)
def test_it_says_what_to_do(setting, environment, words):
    result = build(setting, **environment)
    assert result.returncode == 1
    assert words in result.stderr.splitlines()[-1] and "Traceback" not in result.stderr


def test_without_nvcc_the_operators_are_pytorchs_on_a_gpu():
    result = build(NO_NVCC)
    assert result.returncode == 0, result.stderr
    assert "is built without CUDA kernels: there is no nvcc" in result.stderr
    assert result.stdout.strip().endswith("cpu")


def test_nvcc_of_another_cuda_is_not_taken(tmp_path):
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 11.8, V11.8.89'\n")
    nvcc.chmod(0o755)
    result = build(CUDA, CUDACXX=str(nvcc))
    assert f"{nvcc} is of CUDA 11.8 and torch of CUDA 13.0" in result.stderr
    result = build(CUDA.replace("13.0", "11.6"), CUDACXX=str(nvcc))
    assert result.stdout.strip().endswith("cu116"), result.stderr


def test_the_version_names_the_torch():
    minor = ".".join(torch.__version__.split(".")[:2])
    result = build("", PACO_CUDA="0")
    assert result.stdout.strip().endswith(f"+pt{minor}cpu"), result.stderr
