"""The form of every operator that any device can run, here on the CPU in the place of its kernels.

On GPUs it takes what the kernels there leave to it.
"""

from collections.abc import Iterator

import pytest
import torch
from problems import assert_results_close, cast, draw_loss, value_and_gradients

import paco
from paco import reference

pytestmark = pytest.mark.filterwarnings("ignore:.*overridden")


@pytest.fixture(autouse=True)
def aten_forms() -> Iterator[None]:
    library = torch.library.Library("paco", "IMPL")
    for name in ("paco_loss_forward", "paco_loss_backward", "queue_enqueue_"):
        # XPU stands for a device without kernels of its own.
        form = torch.library.get_kernel(f"paco::{name}", "XPU")
        assert "/ops/aten/" in repr(form)
        library.impl(name, form.call_boxed, "CPU", with_keyset=True, allow_override=True)
    yield
    library._destroy()


EDGES = {
    "one row": dict(rows=1, queue=None, centers=True),
    "empty queue": dict(queue=50, valid=0),
    "partly filled queue of several tiles": dict(queue=9001, valid=5003, rows=6, dim=5),
    "rows of several tiles": dict(rows=4999, anchors=7, dim=3),
    "no centers, no positives": dict(centers=False, rows=1, queue=None),
    "balanced softmax": dict(centers=True, alpha=0.0, gamma=0.0),
    "pairs far above a partition without them": dict(
        centers=True, gamma=0.0, alpha=0.5, classes=2, temperature=0.001, rows=40, dim=2
    ),
    "label smoothing and weights": dict(
        centers=True, classes=9, label_smoothing=0.1, weighted=True
    ),
}


@pytest.mark.parametrize("case", range(20))
def test_random_loss(rng, case):
    problem = draw_loss(rng)
    expected = value_and_gradients(reference.paco_loss, problem)
    assert_results_close(value_and_gradients(paco.paco_loss, problem), expected, problem, 1e-10)


@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES.keys())
def test_edge_of_the_loss_in_float32(rng, edge):
    problem = draw_loss(rng, torch.float32, **edge)
    expected = value_and_gradients(reference.paco_loss, cast(problem, torch.float64))
    assert_results_close(value_and_gradients(paco.paco_loss, problem), expected, problem, 1e-5)


@pytest.mark.parametrize(("name", "row"), [("labels", 7), ("queue_labels", 4)])
def test_a_label_out_of_range_is_an_error_where_its_row_is_valid(rng, name, row):
    problem = draw_loss(rng, rows=8, queue=10, valid=5, classes=3, centers=True)
    problem["queue_labels"][5:] = -1
    paco.paco_loss(**problem)
    problem[name][row] = rng.choice([-1, 3])
    with pytest.raises(ValueError, match=rf"paco_loss: {name} must lie in \[0, C\)"):
        paco.paco_loss(**problem)


@pytest.mark.parametrize("dim", [0, 3])
def test_enqueue_is_one_row_after_another(rng, dim):
    size = rng.randint(1, 30)
    fast, slow = (
        (torch.zeros(size, dim), torch.full((size,), -1), torch.zeros(2, dtype=torch.int64))
        for _ in range(2)
    )
    for _ in range(12):
        batch = rng.randint(0, 2 * size)
        keys, labels = torch.randn(batch, dim), torch.randint(9, (batch,))
        paco.queue_enqueue_(*fast, keys, labels)
        reference.queue_enqueue_(*slow, keys, labels)
        for actual, expected in zip(fast, slow, strict=True):
            assert torch.equal(actual, expected)
