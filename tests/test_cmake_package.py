"""The Python package is a CMake prefix: a project elsewhere links the libpaco inside it."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import torch
from helpers.modules import new_step

import paco
from paco import deploy

PACKAGE = Path(paco.__file__).parent
STRANGER = Path(__file__).parent / "cpp" / "stranger"


def test_a_project_finds_the_package_and_runs_with_it(tmp_path):
    deploy.export_training_step(new_step(), tmp_path / "step.pt")
    prefixes = [str(PACKAGE)]
    if not (PACKAGE.parent / "torch").exists():  # an editable install; a wheel finds it itself
        prefixes.append(torch.utils.cmake_prefix_path)
    scripts = sysconfig.get_path("scripts")
    cmake = shutil.which("cmake", path=os.pathsep.join([scripts, os.environ["PATH"]]))
    build = tmp_path / "build"
    configure = [cmake, "-S", STRANGER, "-B", build, f"-DCMAKE_PREFIX_PATH={';'.join(prefixes)}"]
    subprocess.run(configure, check=True)
    subprocess.run([cmake, "--build", build, "--target", "as_needed"], check=True)
    result = subprocess.run(
        [build / "as_needed", tmp_path / "step.pt"], capture_output=True, text=True, env={}
    )
    assert result.stdout == "loaded\n", result.stderr


def test_an_sdist_has_the_sources_that_its_build_needs(tmp_path):
    root = Path(__file__).parents[1]
    command = ["setup.py", "-q", "egg_info", "--egg-base", tmp_path, "sdist", "-d", tmp_path]
    subprocess.run([sys.executable, *command], cwd=root, check=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        packed = {name.split("/", 1)[1] for name in file.getnames() if "/" in name}
    tracked = subprocess.run(
        ["git", "ls-files", "CMakeLists.txt", "cmake", "csrc", "paco", "tools/classify"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    assert {*tracked.stdout.split()} - packed == set()
