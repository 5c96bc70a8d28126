"""Fresh random problems on every run and how to repeat one, and the devices to solve them on.

pytest puts this folder on Python's path, so that every test finds the package of helpers.
"""

import os
import random
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from helpers.problems import SEED
from helpers.processes import processes

import paco

REPEAT = f"PACO_TEST_SEED={SEED}"


@pytest.fixture(autouse=True)
def rng(request: pytest.FixtureRequest) -> random.Random:
    """A generator for sizes and choices; the global ones are seeded along, from it.

    All depend on the run's seed and the test's name only, so that one test repeats alone.
    """
    return seed_all(request.node.nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef, request: pytest.FixtureRequest) -> None:
    # A fixture that several tests share is set up in one of them, before its rng.
    if fixturedef.scope != "function":
        seed_all(f"{request.node.nodeid} {fixturedef.argname}")


def seed_all(name: str) -> random.Random:
    rng = random.Random(f"{SEED} {name}")
    random.seed(rng.getrandbits(63))
    np.random.seed(rng.getrandbits(32))
    torch.manual_seed(rng.getrandbits(63))
    return rng


DEVICES = [pytest.param("cpu")]
if torch.cuda.is_available() and paco.build_info()["cuda_version"]:
    DEVICES.append(pytest.param("cuda", marks=pytest.mark.cuda))


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    """The CPU, and a GPU where there is one that libpaco has kernels for."""
    return torch.device(request.param)


@pytest.fixture(scope="session")
def on_two_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., list]]:
    """Calls ``function(rank, *arguments)`` on each of two ranks and lists what they return."""
    with processes(tmp_path_factory.mktemp("group") / "rendezvous") as call:
        yield call


@pytest.fixture(scope="session")
def on_three_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., list]]:
    """The same on each of three."""
    with processes(tmp_path_factory.mktemp("group") / "rendezvous", 3) as call:
        yield call


@pytest.fixture
def one_cpu() -> Iterator[None]:
    """Processes that a test starts run on one CPU.

    The kernel counts a process's pages on each CPU by itself, and up to max(32, 2 CPUs) of each
    are missing from the sum.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def pytest_report_header() -> str:
    return f"random problems: repeat this run with {REPEAT}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    report = yield
    if report.failed:
        report.sections.append(("random problem", f"repeat it with {REPEAT}"))
    return report
