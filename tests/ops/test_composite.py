"""The form made of PyTorch's operators, which any device can run, here in place of CPU kernels.

It also takes what the kernels of a GPU leave to it.
"""

from collections.abc import Iterator

import pytest
import torch
from helpers import bcl_problems
from helpers.bcl_problems import draw_bcl
from helpers.composite import composite_forms
from helpers.problems import (
    EDGES,
    HARD,
    assert_as_defined,
    assert_as_good_as_torch,
    assert_large_partition_is_shared,
    draw_loss,
)
from helpers.queues import assert_equal, clone, empty_queue
from helpers.von_mises_fisher import assert_solved, draw_vmf

import paco
from paco import reference

pytestmark = pytest.mark.filterwarnings("ignore:.*overridden")


@pytest.fixture(autouse=True)
def on_another_device() -> Iterator[None]:
    with composite_forms(
        "bcl_loss_forward",
        "paco_loss_forward",
        "paco_loss_backward",
        "queue_enqueue_",
        "vmf_logits_forward",
        "vmf_logits_backward",
        "class_mean_update_",
    ):
        yield


@pytest.mark.parametrize("case", range(20))
def test_random_loss(rng, case):
    assert_as_defined(draw_loss(rng), torch.device("cpu"))


@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES.keys())
def test_edge_of_the_loss_in_float32(rng, edge):
    assert_as_defined(draw_loss(rng, torch.float32, **edge), torch.device("cpu"))


@pytest.mark.parametrize("problem", HARD.values(), ids=HARD.keys())
def test_hard_loss(rng, problem):
    assert_as_good_as_torch(problem(), torch.device("cpu"))


@pytest.mark.parametrize("case", range(20))
def test_random_bcl_loss(rng, case):
    assert_as_defined(draw_bcl(rng), torch.device("cpu"))


@pytest.mark.parametrize("edge", bcl_problems.EDGES.values(), ids=bcl_problems.EDGES.keys())
def test_edge_of_the_bcl_loss_in_float32(rng, edge):
    assert_as_defined(draw_bcl(rng, torch.float32, **edge), torch.device("cpu"))


@pytest.mark.parametrize("problem", bcl_problems.HARD.values(), ids=bcl_problems.HARD.keys())
def test_hard_bcl_loss(rng, problem):
    assert_as_good_as_torch(problem(), torch.device("cpu"))


def test_large_partition_is_shared_by_equal_rows():
    assert_large_partition_is_shared(torch.device("cpu"))


@pytest.mark.parametrize(("name", "row"), [("labels", 7), ("queue_labels", 4)])
def test_a_label_out_of_range_is_an_error_where_its_row_is_valid(rng, name, row):
    problem = draw_loss(rng, rows=8, queue=10, valid=5, classes=3, centers=True)
    problem["queue_labels"][5:] = -1
    paco.paco_loss(**problem)
    problem[name][row] = rng.choice([-1, 3])
    with pytest.raises(ValueError, match=rf"paco_loss: {name} must lie in \[0, C\)"):
        paco.paco_loss(**problem)


@pytest.mark.parametrize(("name", "row"), [("labels", 7), ("queue_labels", 4)])
def test_a_label_without_a_prototype_is_an_error_where_its_row_is_valid(rng, name, row):
    problem = draw_bcl(rng, rows=8, queue=10, valid=5, classes=3)
    paco.bcl_loss(**problem)
    problem[name][row] = rng.choice([-1, 3])
    with pytest.raises(ValueError, match=rf"bcl_loss: {name} must lie in \[0, C\)"):
        paco.bcl_loss(**problem)


@pytest.mark.parametrize("dim", [0, 3])
def test_enqueue_is_one_row_after_another(rng, dim):
    size = rng.randint(1, 30)
    fast = empty_queue(size, dim, torch.float32)
    slow = clone(fast)
    for _ in range(12):
        batch = rng.randint(0, 2 * size)
        keys, labels = torch.randn(batch, dim), torch.randint(9, (batch,))
        paco.queue_enqueue_(*fast, keys, labels)
        reference.queue_enqueue_(*slow, keys, labels)
        assert_equal(fast, slow)


def test_keys_from_the_queue_itself_are_as_good_as_copies():
    fast = empty_queue(60, 3, torch.float32)
    paco.queue_enqueue_(*fast, torch.randn(77, 3), torch.arange(77))
    slow = clone(fast)
    for first in (0, 5, 30):
        rows = slice(first, first + 30)
        paco.queue_enqueue_(*fast, fast[0][rows], fast[1][rows])
        paco.queue_enqueue_(*slow, slow[0][rows].clone(), slow[1][rows].clone())
        assert_equal(fast, slow)


def test_a_queue_that_overlaps_itself_is_an_error():
    queue = empty_queue(6, 4, torch.float32)
    with pytest.raises(ValueError, match=r"queue\b.*overlap"):
        paco.queue_enqueue_(
            queue[0][:1].expand(6, 4), *queue[1:], torch.randn(3, 4), torch.arange(3)
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("dim", [2, 31, 100])
def test_random_logits(rng, dtype, dim):
    assert_solved(draw_vmf(rng, dtype, dim=dim), torch.device("cpu"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mean_direction", 0.7, "mean_direction must have rows of length 1 or 0"),
        ("concentration", -1, "concentration must be finite and >= 0"),
        ("concentration", float("nan"), "concentration must be finite and >= 0"),
    ],
)
def test_bad_statistics_are_an_error(rng, name, value, message):
    problem = draw_vmf(rng, classes=3, dim=4)
    paco.vmf_logits(**problem)
    problem[name][1] = value
    with pytest.raises(ValueError, match=f"vmf_logits: {message}"):
        paco.vmf_logits(**problem)


def test_class_means_are_those_of_all_features_so_far(rng):
    fast = (torch.randn(7, 5), torch.tensor([0, 3, 0, 1, 0, 2, 9]))
    fast[0][0] = float("nan")  # of a class without features
    slow = (fast[0].double(), fast[1].clone())
    for batch in (0, 1, 30):
        features, labels = torch.randn(batch, 5), torch.randint(7, (batch,))
        labels[:1] = 0
        paco.class_mean_update_(*fast, features, labels)
        reference.class_mean_update_(*slow, features, labels)
    assert torch.equal(fast[1], slow[1])
    torch.testing.assert_close(fast[0].double(), slow[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("label", [-1, 7])
def test_a_class_that_there_is_not_is_an_error(label):
    mean, count = torch.zeros(7, 2), torch.zeros(7, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"class_mean_update_: labels must lie in \[0, C\)"):
        paco.class_mean_update_(mean, count, torch.ones(2, 2), torch.tensor([0, label]))
    assert not mean.any() and not count.any()
