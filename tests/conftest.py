"""Fresh random problems on every run, and how to repeat one."""

import random

import pytest
import torch
from problems import SEED

REPEAT = f"PACO_TEST_SEED={SEED}"


@pytest.fixture(autouse=True)
def rng(request: pytest.FixtureRequest) -> random.Random:
    """A generator for sizes and choices; torch's is seeded along, from it.

    Both depend on the run's seed and the test's name only, so that one test repeats alone.
    """
    rng = random.Random(f"{SEED} {request.node.nodeid}")
    torch.manual_seed(rng.getrandbits(63))
    return rng


def pytest_report_header() -> str:
    return f"random problems: repeat this run with {REPEAT}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    report = yield
    if report.failed:
        report.sections.append(("random problem", f"repeat it with {REPEAT}"))
    return report
