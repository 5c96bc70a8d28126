"""These tests need a GPU. Without one nothing is collected here, so that `pytest` on the whole tree
says nothing of CUDA, and `pytest tests/cuda` alone fails for want of tests."""

import pytest
import torch

import paco

if not torch.cuda.is_available():
    collect_ignore_glob = ["test_*.py"]
elif not paco.build_info()["cuda_version"]:
    raise pytest.UsageError("libpaco was built without CUDA kernels; PACO_CUDA=1 asks for them")


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda")


@pytest.fixture(params=["highest", "high"])
def matmul_precision(request: pytest.FixtureRequest):
    """Products of float32 in full precision, and on the tensor cores."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(request.param)
    yield request.param
    torch.set_float32_matmul_precision(before)
