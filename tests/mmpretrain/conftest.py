"""The toolbox, mended where it has to be, and its scope."""

import pytest

import paco.mmpretrain  # noqa: F401

# isort: split
from helpers.threads import one_thread  # noqa: F401
from mmengine.registry import init_default_scope


@pytest.fixture(autouse=True, scope="session")
def toolbox_scope() -> None:
    init_default_scope("mmpretrain")
