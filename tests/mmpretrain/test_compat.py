import pickle
import re
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub

from paco.mmpretrain import compat

# A torchvision that fails as the compiled one does, until its operator is declared.
BROKEN = """
import torch
try:
    torch.ops.torchvision.nms
except AttributeError:
    raise RuntimeError("operator torchvision::nms does not exist")
"""


def mend(tmp_path: Path, torchvision: str) -> subprocess.CompletedProcess:
    """Runs the mending in a fresh process that sees this torchvision."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("from . import ops")
    (package / "ops.py").write_text(torchvision)
    code = f"""
import importlib.util, sys
sys.path.insert(0, {str(tmp_path)!r})
spec = importlib.util.spec_from_file_location("compat", {compat.__file__!r})
compat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compat)
compat._mend_torchvision()
import torchvision
assert torchvision.__file__.startswith({str(tmp_path)!r})
print("mended" if compat._torchvision_library else "left alone")
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_torchvision_without_its_operators_is_mended(tmp_path):
    assert mend(tmp_path, BROKEN).stdout == "mended\n"


def test_a_torchvision_that_works_is_left_alone(tmp_path):
    assert mend(tmp_path, "").stdout == "left alone\n"


def test_another_failure_of_torchvision_is_shown(tmp_path):
    result = mend(tmp_path, 'raise RuntimeError("something else")')
    assert result.returncode != 0
    assert "RuntimeError: something else" in result.stderr


@pytest.mark.parametrize("numpy_module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_a_log_history_loads_with_weights_only(tmp_path, numpy_module):
    hub = MessageHub("test_compat")
    for value in (0.5, 0.25):
        hub.update_scalar("train/loss", value)
    torch.save({"hub": hub.state_dict(), "scalar": np.float64(0.5)}, tmp_path / "new.pth")
    with ZipFile(tmp_path / "new.pth") as source, ZipFile(tmp_path / "hub.pth", "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("data.pkl"):  # as numpy 1 or 2 writes it
                content = re.sub(rb"numpy\._?core\.multiarray", numpy_module.encode(), content)
                assert content.count(numpy_module.encode()) >= 2
            target.writestr(name, content)
    checkpoint = torch.load(tmp_path / "hub.pth", weights_only=True)
    assert checkpoint["scalar"] == 0.5
    state = checkpoint["hub"]
    history, counts = state["log_scalars"]["train/loss"].data
    assert history.tolist() == [0.5, 0.25]
    assert counts.tolist() == [1, 1]


class Reaches:
    """Pickles as getattr(owner, name), as a harmful file would on its way to a function."""

    def __init__(self, owner: type, name: str) -> None:
        self.reach = (owner, name)

    def __reduce__(self) -> tuple:
        return getattr, self.reach


@pytest.mark.parametrize(("owner", "name"), [(HistoryBuffer, "__init__"), (torch.Size, "count")])
def test_a_checkpoint_reaches_nothing_else(tmp_path, owner, name):
    torch.save(Reaches(owner, name), tmp_path / "harmful.pth")
    with pytest.raises(pickle.UnpicklingError, match=name):
        torch.load(tmp_path / "harmful.pth", weights_only=True)
