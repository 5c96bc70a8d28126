import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch

import paco

PACKAGE = Path(paco.__file__).parent


def test_build_info_is_of_the_running_torch():
    info = paco.build_info()
    assert info["version"] == paco.__version__
    assert minor_version(torch.__version__) == minor_version(info["torch_version"])
    assert set(info) == {
        "version",
        "torch_version",
        "cuda_version",
        "compiler",
        "cxx11_abi",
        "cpu_capabilities",
        "cpu_capability",
        "build_type",
    }


def minor_version(version):
    return ".".join(version.split(".")[:2])


def in_a_fresh_process(program, path):
    # The site module (-S leaves it out) would let an editable install stand in for what path lacks.
    packages = [str(path), sysconfig.get_path("purelib")]
    return subprocess.run(
        [sys.executable, "-S", "-c", program],
        capture_output=True,
        text=True,
        cwd=path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(packages)},
    )


def test_torch_is_the_only_dependency(tmp_path):
    # An import of NumPy, which torch does without, would fail; so would that of a toolbox.
    program = """
import sys
toolboxes = ["mmengine", "mmcv", "mmpretrain", "timm", "lightning"]
for name in ["numpy", "torchvision", "sklearn", "PIL", *toolboxes]:
    sys.modules[name] = None
import paco, torch
labels = torch.tensor([0, 0, 1, 1])
centers = paco.nn.ClassCenters(4, 2)
centers.set_class_counts(paco.longtail.class_counts(labels, 2))
queue = paco.nn.FeatureQueue(3, 4)
step = paco.nn.TrainingStep(paco.nn.PaCoLoss(alpha=1, temperature=0.1), queue, centers)
for _ in range(2):
    step(torch.eye(4), torch.eye(4), torch.eye(4), labels).backward()
print(centers.weight.grad.abs().sum().item() > 0, int(queue.num_valid))
"""
    result = in_a_fresh_process(program, PACKAGE.parent)
    assert result.stdout.split() == ["True", "3"], result.stderr


@pytest.mark.parametrize("other", [".99", ".99+cu130", ".0.dev20260101+cpu"])
def test_patch_releases_and_nightly_builds_of_its_minor_version_fit(monkeypatch, other):
    minor = minor_version(paco.build_info()["torch_version"])
    monkeypatch.setattr(torch, "__version__", minor + other)
    assert paco._library._check_torch_version() == paco.__version__


def test_what_import_says_of_another_cuda(monkeypatch, tmp_path):
    info = {**paco.build_info(), "cuda_version": "11.8.89"}
    (tmp_path / "build_info.json").write_text(json.dumps(info))
    monkeypatch.setattr(paco._library, "_FOLDER", tmp_path)
    for running, words in [(None, "no CUDA"), ("13.0", "CUDA 13.0")]:
        monkeypatch.setattr(torch.version, "cuda", running)
        with pytest.raises(ImportError, match=rf"built for CUDA 11\.8\.89, but .* has {words}"):
            paco._library._check_torch_version()
    monkeypatch.setattr(torch.version, "cuda", "11.2")  # versions of one major are compatible
    assert paco._library._check_torch_version() == paco.__version__


def test_the_extension_module_is_not_needed():
    program = "import sys; sys.modules['paco._C'] = None; import paco; print(paco.build_info())"
    result = in_a_fresh_process(program, PACKAGE.parent)
    assert result.stdout == f"{paco.build_info()}\n", result.stderr


def test_what_the_classifier_says_under_another_python():
    program = "import sys; sys.modules['paco._C'] = None; import paco; paco.Classifier"
    message = in_a_fresh_process(program, PACKAGE.parent).stderr.strip().splitlines()[-1]
    assert message.startswith("ImportError: paco.Classifier does not load: ")
    assert "Install the wheel" in message


@pytest.mark.parametrize(
    ("built_for", "words"),
    [
        (None, ["libpaco is not built", "pip install"]),
        ("1.13.1", ["built for torch 1.13,", f"this is torch {torch.__version__}", "pip install"]),
        (paco.build_info()["torch_version"], ["does not load", "libpaco.so", "pip install"]),
    ],
    ids=["not built", "another torch", "a library that does not load"],
)
def test_what_import_says_of_a_library_that_does_not_fit(tmp_path, built_for, words):
    package = tmp_path / "paco"
    shutil.copytree(
        PACKAGE, package, ignore=lambda _, names: {"lib", "include", "share"} & {*names}
    )
    if built_for is not None:
        (package / "lib").mkdir()
        record = {"version": "0.1.0", "torch_version": built_for, "cuda_version": ""}
        (package / "lib" / "build_info.json").write_text(json.dumps(record))
    result = in_a_fresh_process("import paco", tmp_path)
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith("ImportError: libpaco")
    for word in [*words, f"torch-{minor_version(torch.__version__)}+"]:
        assert word in message


def test_the_report_says_what_runs():
    program = [sys.executable, "-m", "paco"]
    result = subprocess.run(program, capture_output=True, text=True, cwd=PACKAGE.parent)
    lines = dict(line.split(":", 1) for line in result.stdout.splitlines())
    info = paco.build_info()
    assert lines["torch"].strip().startswith(torch.__version__)
    assert lines["instruction set"].strip().startswith(info["cpu_capability"])
    assert lines["loss on the CPU"].strip() == "works"
    assert f"numpy {np.__version__}" in lines["toolboxes"]
