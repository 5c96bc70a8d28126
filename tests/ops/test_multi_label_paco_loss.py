import random
import re
from typing import Any

import pytest
import torch
from helpers.modules import script
from helpers.problems import (
    assert_as_defined,
    assert_as_good_as_torch,
    assert_results_close,
    cast,
    draw_loss,
    identical,
    on,
    unit_rows,
    value_and_gradients,
    with_gradients,
)
from torch.nn import functional as F

import paco
from paco import reference

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def draw_multi_label(
    rng: random.Random, dtype: torch.dtype = torch.float64, **fixed: Any
) -> dict[str, Any]:
    """Arguments of multi_label_paco_loss; ``fixed`` as of draw_loss."""
    classes = fixed.pop("classes", rng.randint(1, 12))
    share = fixed.pop("share", rng.choice([0.0, 0.1, 0.5, 1.0]))
    problem = draw_loss(rng, dtype, centers=True, soft=False, classes=classes, **fixed)
    for name in ("labels", "queue_labels"):
        if name in problem:
            rows = problem[name].size(0)
            problem[name] = torch.rand(rows, classes) < share
    for name in ("num_anchors", "label_smoothing"):
        problem.pop(name, None)
    return problem


def one_hot(labels: torch.Tensor, classes: int) -> torch.Tensor:
    return F.one_hot(labels.clamp(min=0), classes).bool()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", range(20))
def test_random_problem(rng, device, dtype, case):
    assert_as_defined(draw_multi_label(rng, dtype), device)


EDGES = {
    "one row": dict(rows=1, queue=None),
    "one anchor of many rows": dict(rows=200, anchors=1),
    "one class": dict(classes=1),
    "every class in every row": dict(share=1.0),
    "no class anywhere": dict(share=0.0),
    "empty queue": dict(queue=50, valid=0),
    "partial queue": dict(queue=150, valid=67),
    "many classes": dict(rows=20, classes=3000, share=0.01),
    "no centers in the pull": dict(beta=0.0, alpha=0.5, share=0.1, classes=9),
    "no positives": dict(alpha=0.0),
    "no pairs in the denominator": dict(gamma=0.0),
    "weights": dict(weighted=True),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES.keys())
def test_edge(rng, device, dtype, edge):
    assert_as_defined(draw_multi_label(rng, dtype, **edge), device)


@pytest.mark.parametrize("beta", [1.0, 1e-6])
@pytest.mark.parametrize(
    ("norm", "temperature"),
    [(1e-6, 0.07), (30, 0.07), (1e3, 0.07), (1e4, 0.07), (1, 0.003), (1, 1e-9), (1, 1e9)],
)
def test_hard_problem(device, norm, temperature, beta):
    # Rows that are not of unit length, and temperatures at which naive float32 fails.
    problem = dict(
        features=(norm * unit_rows(32, 16)).float(),
        labels=torch.rand(32, 5) < 0.3,
        center_logits=torch.randn(24, 5),
        queue=(norm * unit_rows(200, 16)).float(),
        queue_labels=torch.rand(200, 5) < 0.3,
        alpha=1.0,
        beta=beta,
        temperature=temperature,
    )
    assert_as_good_as_torch(problem, device)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("case", range(20))
def test_with_one_class_a_row_it_is_the_paco_loss(rng, device, dtype, case):
    classes = rng.randint(1, 9)
    single = draw_loss(rng, dtype, centers=True, soft=False, classes=classes, label_smoothing=0.0)
    problem = dict(single)
    del problem["num_anchors"], problem["label_smoothing"]
    for name in {"labels", "queue_labels"} & problem.keys():
        problem[name] = one_hot(problem[name], classes)
    actual = value_and_gradients(paco.multi_label_paco_loss, on(device, problem))
    expected = value_and_gradients(paco.paco_loss, on(device, single))
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    assert_results_close(actual, expected, single, tolerance)


def test_overlap_weighs_positives(rng):
    # Rows 1 to 3 share two, one and none of the anchor's two classes; row 1 has no other.
    features, logits = unit_rows(4, 5), torch.randn(1, 4, dtype=torch.float64)
    labels = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 1], [0, 0, 1, 0]]).bool()
    loss = paco.multi_label_paco_loss(features, labels, logits, alpha=0.3, beta=2, temperature=0.5)
    p = features[1:] @ features[0] / 0.5
    overlap = torch.tensor([1, 1 / 6**0.5, 0], dtype=torch.float64)
    log_partition = torch.cat([logits[0], p]).logsumexp(0)
    pull = 2 * logits[0, :2].mean() + 0.3 * overlap @ p
    expected = log_partition - pull / (2 + 0.3 * overlap.sum())
    torch.testing.assert_close(loss, expected, rtol=1e-13, atol=0)


def test_a_row_without_a_class_is_contrast_alone(rng):
    problem = draw_multi_label(
        rng, rows=8, anchors=5, classes=4, share=0.7, queue=None, weighted=False
    )
    problem["labels"][:5, 0] = True
    problem["labels"][2] = False
    actual = value_and_gradients(paco.multi_label_paco_loss, problem)
    # As an anchor of weight 0 it is in the mean and in the others' contrast.
    problem["anchor_weight"] = torch.tensor([1.0, 1, 0, 1, 1])
    expected = value_and_gradients(paco.multi_label_paco_loss, problem)
    assert identical(actual, expected)
    assert actual["center_logits"][2].abs().max() == 0
    assert actual["features"][2].abs().max() > 0 or problem["gamma"] == 0


def test_gradcheck(rng):
    problem = draw_multi_label(rng, rows=7, anchors=5, dim=5, classes=4, queue=6, valid=4)
    problem = with_gradients(problem)

    def loss(features, center_logits):
        changed = {"features": features, "center_logits": center_logits}
        return paco.multi_label_paco_loss(**{**problem, **changed})

    assert torch.autograd.gradcheck(loss, (problem["features"], problem["center_logits"]))


def test_no_gradient_flows_to_the_queue(rng):
    problem = with_gradients(draw_multi_label(rng, share=0.5, queue=9, valid=None))
    problem["queue"].requires_grad_()
    loss = paco.multi_label_paco_loss(**problem)
    (gradient,) = torch.autograd.grad(loss, problem["queue"], allow_unused=True)
    assert gradient is None


def test_second_derivative_is_an_error(rng):
    problem = with_gradients(draw_multi_label(rng, share=0.5))
    loss = paco.multi_label_paco_loss(**problem)
    (gradient,) = torch.autograd.grad(loss, problem["features"], create_graph=True)
    with pytest.raises(RuntimeError, match="paco_loss_backward"):
        torch.autograd.grad(gradient.square().sum(), problem["features"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_same_bits_on_every_call(rng, device, dtype):
    problem = draw_multi_label(rng, dtype, rows=300, dim=96, classes=20, queue=3000, share=0.1)
    problem = on(device, problem)
    first = value_and_gradients(paco.multi_label_paco_loss, problem)
    for _ in range(3):
        assert identical(value_and_gradients(paco.multi_label_paco_loss, problem), first)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["features", "center_logits", "queue"])
def test_a_bad_number_gives_nan(rng, device, name, value):
    problem = draw_multi_label(rng, torch.float32, rows=60, queue=90, valid=70, gamma=1.0)
    numbers = problem[name].view(-1)[:20]
    numbers[rng.randrange(len(numbers))] = value
    assert reference.multi_label_paco_loss(**problem).isnan()
    assert paco.multi_label_paco_loss(**on(device, problem)).isnan()


# ---- The same everywhere -------------------------------------------------------------------------


scripted_loss = script(paco.multi_label_paco_loss)


@pytest.mark.parametrize("case", range(5))
def test_scripted_is_eager(rng, case):
    problem = draw_multi_label(rng, torch.float32)
    assert identical(
        value_and_gradients(scripted_loss, problem),
        value_and_gradients(paco.multi_label_paco_loss, problem),
    )


def test_compiled_is_eager(rng, device):
    def loss(**tensors):
        return paco.multi_label_paco_loss(**tensors, alpha=0.2, temperature=0.2)

    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, dynamic=True)
    for rows in (6, 9, 31):
        problem = draw_multi_label(
            rng, torch.float32, rows=rows, anchors=rows - 2, classes=rows - 3, queue=50, valid=20
        )
        problem = {name: x for name, x in problem.items() if isinstance(x, torch.Tensor)}
        problem["num_valid"] = problem["num_valid"].flatten()[0]
        problem.pop("anchor_weight", None)
        problem["queue"] = unit_rows(50, problem["features"].size(1), torch.float32)
        actual = value_and_gradients(compiled, on(device, problem))
        expected = value_and_gradients(loss, on(device, problem))
        assert_results_close(actual, expected, {**problem, "temperature": 0.2}, 1e-5)


def test_exported_is_eager(rng):
    class Loss(torch.nn.Module):
        def forward(self, features, labels, center_logits):
            return paco.multi_label_paco_loss(
                features, labels, center_logits, alpha=0.1, temperature=0.2
            )

    def arguments(rows):
        problem = draw_multi_label(rng, rows=rows, anchors=rows, dim=8, classes=3)
        return problem["features"], problem["labels"], problem["center_logits"]

    rows = torch.export.Dim("rows", min=2)
    exported = torch.export.export(Loss(), arguments(5), dynamic_shapes=({0: rows},) * 3).module()
    for n in (5, 12):
        x = arguments(n)
        torch.testing.assert_close(exported(*x), Loss()(*x), rtol=1e-13, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_computes_in_float32(rng, device, dtype):
    problem = on(device, draw_multi_label(rng, dtype))
    with torch.autocast(device.type, torch.bfloat16):
        actual = value_and_gradients(paco.multi_label_paco_loss, problem)
    expected = value_and_gradients(paco.multi_label_paco_loss, cast(problem, torch.float32))
    assert actual["loss"].dtype == torch.float32
    assert torch.equal(actual["loss"], expected["loss"])
    for name in ("features", "center_logits"):
        assert torch.equal(actual[name], expected[name].to(dtype))


@pytest.mark.parametrize("gradients", [False, True])
def test_opcheck(rng, device, gradients):
    problem = on(device, draw_multi_label(rng, torch.float32, queue=9, valid=4, share=0.5))
    problem = with_gradients(problem) if gradients else problem
    positional = [problem.pop(name) for name in ("features", "labels", "center_logits")]
    torch.library.opcheck(torch.ops.paco.multi_label_paco_loss.default, positional, problem)


# ---- Bad input -----------------------------------------------------------------------------------

BAD_INPUTS = [
    ("labels", "labels must be bool, which classes a row has, got Float", torch.Tensor.float),
    ("labels", r"labels must be \[rows, C\] with C = 5 .*, got \[8, 4\]", lambda x: x[:, 1:]),
    ("labels", r"labels must be \[rows, C\] .*, got \[7, 5\]", lambda x: x[1:]),
    ("labels", r"labels must be \[rows, C\] .*, got \[8\]", lambda x: x[:, 0]),
    ("labels", "labels must be on the device of features", lambda x: x.to("meta")),
    ("queue_labels", "queue_labels must be bool.*, got Long", torch.Tensor.long),
    ("queue_labels", r"queue_labels must be \[rows, C\] .*, got \[9, 5\]", lambda x: x[1:]),
    ("queue_labels", "queue and queue_labels must be given together", lambda x: None),
    ("center_logits", r"center_logits must be \[A, C\] .*, got \[9, 5\]", lambda x: x.repeat(3, 1)),
    ("center_logits", r"center_logits must be \[A, C\] .*, got \[15\]", torch.flatten),
    ("center_logits", "center_logits must be Float .*, got Double", torch.Tensor.double),
    ("features", r"features must be \[M, D\] .*, got \[48\]", torch.flatten),
    (
        "queue",
        r"queue must be \[K, D\] with the D of features .*, got \[10, 5\]",
        lambda x: x[:, 1:],
    ),
    ("num_valid", "num_valid must .*, got 11", lambda x: torch.tensor(11)),
    ("anchor_weight", r"anchor_weight must be \[num_anchors\] .*, got \[2\]", lambda x: x[1:]),
    ("anchor_weight", "anchor_weight must be >= 0, got -1", lambda x: x - 1 - x[0]),
    ("anchor_weight", "anchor_weight must not require a gradient", lambda x: x.requires_grad_()),
    ("alpha", "alpha must be finite and >= 0, got -1", lambda x: -1.0),
    ("temperature", "temperature must be finite and > 0, got 0", lambda x: 0.0),
    ("gamma", "gamma must be 0 or between", lambda x: 1e-40),
]


@pytest.mark.parametrize(("name", "message", "change"), BAD_INPUTS)
def test_bad_input(rng, name, message, change):
    problem = draw_multi_label(
        rng, torch.float32, rows=8, anchors=3, dim=6, classes=5, queue=10, valid=7, share=1.0
    )
    problem["anchor_weight"] = torch.rand(3)
    problem |= dict(alpha=0.1, beta=1.0, gamma=1.0)
    paco.multi_label_paco_loss(**problem)
    problem[name] = change(problem[name])
    with pytest.raises(ValueError, match=re.compile(f"paco_loss: {message}", re.DOTALL)):
        paco.multi_label_paco_loss(**problem)


def test_alpha_and_beta_of_zero_are_an_error(rng):
    problem = draw_multi_label(rng, alpha=0.5, beta=0.5)
    with pytest.raises(ValueError, match="alpha and beta must not both be 0"):
        paco.multi_label_paco_loss(**{**problem, "alpha": 0.0, "beta": 0.0})
