"""These tests need a GPU.

Without one nothing is collected here, so that `pytest` on the whole tree says nothing of CUDA.
"""

import pytest
import torch

import paco

if not torch.cuda.is_available():
    collect_ignore_glob = ["test_*.py"]
elif not paco.build_info()["cuda_version"]:
    raise pytest.UsageError("libpaco was built without CUDA kernels; PACO_CUDA=1 asks for them")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(__file__.removesuffix("/conftest.py")):
            item.add_marker(pytest.mark.cuda)


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda")


@pytest.fixture
def tensor_cores():
    """Products of float32 on the tensor cores, in tf32."""
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision("highest")
