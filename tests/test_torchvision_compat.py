import subprocess
import sys
from pathlib import Path

from paco import torchvision_compat

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
spec = importlib.util.spec_from_file_location("compat", {torchvision_compat.__file__!r})
compat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compat)
import torchvision
assert torchvision.__file__.startswith({str(tmp_path)!r})
print("mended" if compat.library else "left alone")
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
