import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch

import paco

PACKAGE = Path(paco.__file__).parent


def test_build_info_is_of_the_running_torch():
    info = paco.build_info()
    assert info["version"] == paco.__version__
    assert torch.__version__.startswith(info["torch_version"])
    assert set(info) == {
        "version",
        "torch_version",
        "cuda_version",
        "compiler",
        "cxx11_abi",
        "cpu_capabilities",
        "build_type",
    }


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


def test_a_nightly_torch_is_taken_for_the_release_it_leads_to(monkeypatch):
    release = paco.build_info()["torch_version"]
    monkeypatch.setattr(torch, "__version__", f"{release}.dev20260101+cpu")
    assert paco._library._check_torch_version() == paco.__version__


@pytest.mark.parametrize(
    ("built_for", "words"),
    [
        (None, ["libpaco is not built", "pip install"]),
        ("1.13.1", ["built for torch 1.13.1", f"this is torch {torch.__version__}", "pip install"]),
        (paco.build_info()["torch_version"], ["does not load", "paco._C", "pip install"]),
    ],
    ids=["not built", "another torch", "no module for this Python"],
)
def test_what_import_says_of_a_library_that_does_not_fit(tmp_path, built_for, words):
    package = tmp_path / "paco"
    shutil.copytree(
        PACKAGE, package, ignore=lambda _, names: {"lib", "include", "share"} & {*names}
    )
    for module in package.glob("_C*"):
        module.unlink()
    if built_for is not None:
        (package / "lib").mkdir()
        record = {"version": "0.1.0", "torch_version": built_for}
        (package / "lib" / "build_info.json").write_text(json.dumps(record))
    result = in_a_fresh_process("import paco", tmp_path)
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith("ImportError: libpaco")
    for word in words:
        assert word in message
