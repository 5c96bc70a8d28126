import importlib.util
import pickle
import re
import sys
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import CheckpointLoader


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


def test_a_load_by_the_toolbox_forgets_nothing(tmp_path):
    hub = MessageHub("test_compat_again")
    hub.update_scalar("train/loss", 0.5)
    torch.save({"hub": hub.state_dict()}, tmp_path / "hub.pth")
    CheckpointLoader.load_checkpoint(str(tmp_path / "hub.pth"))
    torch.load(tmp_path / "hub.pth", weights_only=True)


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


@pytest.mark.parametrize("package", ["mmengine", "mmpretrain"])
def test_a_missing_toolbox_is_a_hint(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    spec = importlib.util.find_spec("paco.mmpretrain")
    with pytest.raises(ImportError, match=r"^paco\.mmpretrain needs a toolbox: pip install"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
