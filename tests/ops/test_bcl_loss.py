import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.bcl_problems import EDGES, HARD, draw_bcl
from helpers.modules import script
from helpers.problems import (
    SEED,
    assert_as_defined,
    assert_as_good_as_torch,
    assert_results_close,
    cast,
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

# ---- Values and gradients ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", range(20))
def test_random_problem(rng, device, dtype, case):
    assert_as_defined(draw_bcl(rng, dtype), device)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES.keys())
def test_edge(rng, device, dtype, edge):
    assert_as_defined(draw_bcl(rng, dtype, **edge), device)


@pytest.mark.parametrize("problem", HARD.values(), ids=HARD.keys())
def test_hard_problem(rng, device, problem):
    assert_as_good_as_torch(problem(), device)


def test_a_self_pair_leaves_columns_of_little_weight_as_they_are(rng, device):
    # The anchor's own pair is left out of a sum of which a class of 200,001 rows is the rest.
    problem = draw_bcl(rng, torch.float32, rows=2, classes=2, dim=8, queue=200_000, valid=None)
    problem.update(labels=torch.tensor([0, 0]), queue_labels=torch.ones(200_000).long())
    assert_as_defined(problem, device)


def test_equal_classes_are_supcon_with_prototypes(rng):
    # n_c the same for every class: but for the anchor's own class all pairs weigh the same.
    features, labels = unit_rows(12, 8), torch.arange(12) % 4
    prototypes = unit_rows(4, 8)
    rows = torch.cat([features, prototypes])
    p = features @ rows.T / 0.2
    classes = torch.cat([labels, torch.arange(4)])
    weight = torch.where(classes == labels[:, None], p.new_tensor(1 / 3), p.new_tensor(1 / 4))
    weight[torch.arange(12), torch.arange(12)] = 0
    positive = (classes == labels[:, None]) & (weight > 0)
    log_probability = p - (weight * p.exp()).sum(1, keepdim=True).log()
    expected = -(log_probability * positive).sum(1).div(3).mean()
    actual = paco.bcl_loss(features, labels, prototypes, temperature=0.2)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=0)


def test_a_class_weighs_the_same_however_often_its_rows_are_there(rng):
    # Class averaging: a class of equal rows that is no anchor's may be of any length.
    row = unit_rows(1, 6)
    problem = draw_bcl(rng, rows=4, classes=2, dim=6, queue=None, labels=torch.zeros(4).long())
    problem["prototypes"] = torch.cat([problem["prototypes"][:1], row])
    expected = paco.bcl_loss(**problem)
    for length in (1, 10, 1000):
        queue = dict(queue=row.repeat(length, 1), queue_labels=torch.ones(length).long())
        torch.testing.assert_close(paco.bcl_loss(**problem, **queue), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_inputs_laid_out_in_another_way(rng, device, dtype):
    problem = draw_bcl(rng, dtype, rows=70, dim=16, classes=3, queue=90, valid=50)
    expected = value_and_gradients(reference.bcl_loss, cast(problem, torch.float64))
    for name in ("features", "prototypes", "queue", "labels", "queue_labels"):
        x = problem[name]
        buffer = torch.full([2 * n for n in reversed(x.shape)], 1, dtype=x.dtype)
        view = buffer[tuple(slice(None, None, 2) for _ in x.shape)]
        problem[name] = view.permute(tuple(range(x.dim()))[::-1]).copy_(x)
    actual = value_and_gradients(paco.bcl_loss, on(device, problem))
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    assert_results_close(on(torch.device("cpu"), actual), expected, problem, tolerance)


@pytest.mark.parametrize("name", ["features", "prototypes"])
def test_gradient_for_one_input_alone(rng, name):
    problem = draw_bcl(rng)
    expected = value_and_gradients(reference.bcl_loss, problem)
    leaf = problem[name].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(paco.bcl_loss(**{**problem, name: leaf}), leaf)
    assert_results_close({name: gradient}, {name: expected[name]}, problem, 1e-10)


def test_upstream_gradient_scales(rng):
    problem = draw_bcl(rng)
    plain = value_and_gradients(paco.bcl_loss, problem)
    scaled = value_and_gradients(lambda **kwargs: -3 * paco.bcl_loss(**kwargs), problem)
    for name in ("features", "prototypes"):
        torch.testing.assert_close(scaled[name], -3 * plain[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_same_bits_on_every_call(rng, device, dtype):
    problem = on(device, draw_bcl(rng, dtype, rows=300, queue=5000, dim=96, classes=50))
    first = value_and_gradients(paco.bcl_loss, problem)
    for _ in range(3 if device.type == "cpu" else 10):
        assert identical(value_and_gradients(paco.bcl_loss, problem), first)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads(rng, threads):
    problem = draw_bcl(rng, torch.float32, rows=70, queue=3000, dim=32, classes=9)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert_as_defined(problem, torch.device("cpu"))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("capability", ["default", "avx2", "avx512"])
def test_smaller_instruction_sets(capability):
    # The choice is made once a process. This one has made the widest, which the other tests see.
    sets = ["default", "avx2", "avx512"]
    here = torch.backends.cpu.get_cpu_capability().lower()
    # Only AVX-512 has a wider one, with bfloat16.
    if here in sets[: sets.index(capability)] or here == capability != "avx512":
        pytest.skip("the other tests have it: this processor has no wider one")
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", __file__, "-k", "edge and (float32 or bfloat16)"],
        env={**os.environ, "PACO_CPU_CAPABILITY": capability, "PACO_TEST_SEED": str(SEED)},
        check=True,
    )


def test_same_loss_with_and_without_gradient(rng):
    problem = draw_bcl(rng, torch.float32)
    expected = value_and_gradients(paco.bcl_loss, problem)["loss"]
    torch.testing.assert_close(paco.bcl_loss(**problem), expected, rtol=1e-6, atol=1e-7)
    with torch.no_grad():
        loss = paco.bcl_loss(**with_gradients(problem))
        assert not loss.requires_grad
        torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-7)
    with torch.inference_mode():
        loss = paco.bcl_loss(**{name: copy(value) for name, value in problem.items()})
        torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-7)


def copy(value):
    return value.clone() if isinstance(value, torch.Tensor) else value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["features", "prototypes", "queue"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_bad_number_gives_nan(rng, device, dtype, name, value):
    problem = draw_bcl(rng, dtype, rows=90, classes=3, queue=110, valid=70)
    for _ in range(5):
        tensor = problem[name].clone()
        rows = {"queue": 70}.get(name, tensor.size(0))
        tensor[:rows].flatten()[rng.randrange(tensor[:rows].numel())] = value
        bad = {**problem, name: tensor}
        assert reference.bcl_loss(**bad).isnan()
        assert paco.bcl_loss(**on(device, bad)).isnan()


# ---- Derivatives ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scripted", [False, True], ids=["eager", "scripted"])
def test_gradcheck(rng, scripted):
    problem = with_gradients(draw_bcl(rng, rows=7, dim=5, classes=3, queue=6, valid=4))
    function = scripted_loss if scripted else paco.bcl_loss

    def loss(features, prototypes):
        return function(**{**problem, "features": features, "prototypes": prototypes})

    assert torch.autograd.gradcheck(loss, (problem["features"], problem["prototypes"]))


def test_gradient_flows_through_the_prototypes_to_what_made_them(rng):
    weight = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    mlp = torch.randn(4, 5, dtype=torch.float64)
    features, labels = unit_rows(6, 5), torch.arange(6) % 3

    def loss(weight):
        prototypes = F.normalize((weight @ mlp).relu() + 0.1, dim=1)
        return paco.bcl_loss(features, labels, prototypes, temperature=0.3)

    assert torch.autograd.gradcheck(loss, (weight,))


@pytest.mark.parametrize("first", ["features", "prototypes"])
@pytest.mark.parametrize("second", ["features", "prototypes"])
def test_second_derivative_is_an_error(rng, first, second):
    problem = with_gradients(draw_bcl(rng, rows=7))
    loss = paco.bcl_loss(**problem)
    (gradient,) = torch.autograd.grad(loss, problem[first], create_graph=True)
    with pytest.raises(RuntimeError, match="bcl_loss_backward"):
        torch.autograd.grad(gradient.square().sum(), problem[second])


def test_a_graph_that_is_kept_gives_the_same_gradient_again(rng):
    # Without retain_graph the backward pass scales what the forward pass left where it lies.
    problem = with_gradients(draw_bcl(rng))
    leaves = problem["features"], problem["prototypes"]
    loss = 3 * paco.bcl_loss(**problem)
    kept = [torch.autograd.grad(loss, leaves, retain_graph=True) for _ in range(2)]
    for gradient in kept[0]:
        gradient.zero_()
    last = torch.autograd.grad(loss, leaves)
    for again, once_more in zip(kept[1], last, strict=True):
        assert torch.equal(again, once_more) and again.abs().max() > 0


# ---- The same everywhere -------------------------------------------------------------------------


scripted_loss = script(paco.bcl_loss)


@pytest.mark.parametrize("case", range(10))
def test_scripted_is_eager(rng, case):
    problem = draw_bcl(rng, torch.float32)
    assert identical(
        value_and_gradients(scripted_loss, problem), value_and_gradients(paco.bcl_loss, problem)
    )


def test_compiled_is_eager(rng, device):
    def loss(**tensors):
        return paco.bcl_loss(**tensors, temperature=0.2)

    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, dynamic=True)
    for n in (6, 9, 31):
        problem = draw_bcl(rng, torch.float32, rows=n, dim=16, classes=n - 2, queue=50, valid=20)
        problem = {name: x for name, x in problem.items() if isinstance(x, torch.Tensor)}
        problem["num_valid"] = torch.tensor(rng.randint(0, 50))
        problem["queue"] = unit_rows(50, 16, torch.float32)
        problem["queue_labels"] = torch.randint(n - 2, (50,))
        problem = {**on(device, problem), "temperature": 0.2}

        def compiled_loss(temperature, **tensors):
            return compiled(**tensors)

        with torch.compiler.set_stance("default" if n == 6 else "fail_on_recompile"):
            actual = value_and_gradients(compiled_loss, problem)
        assert identical(actual, value_and_gradients(paco.bcl_loss, problem))


def test_exported_is_eager(rng):
    class Loss(torch.nn.Module):
        def forward(self, features, labels, prototypes, queue, queue_labels, num_valid):
            return paco.bcl_loss(
                features, labels, prototypes, queue, queue_labels, num_valid, temperature=0.2
            )

    def arguments(rows):
        problem = draw_bcl(rng, rows=rows, dim=8, classes=3, queue=9, valid=4)
        problem["num_valid"] = problem["num_valid"].flatten()[0]
        del problem["temperature"]
        return tuple(problem.values())

    names = draw_bcl(rng, queue=9, valid=4).keys() - {"temperature"}
    assert names == {*["features", "labels", "prototypes", "queue", "queue_labels", "num_valid"]}
    rows = torch.export.Dim("rows", min=2)
    shapes = ({0: rows}, {0: rows}, None, None, None, None)
    exported = torch.export.export(Loss(), arguments(5), dynamic_shapes=shapes).module()
    for n in (5, 12):
        x = arguments(n)
        assert torch.equal(exported(*x), Loss()(*x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_computes_in_float32(rng, device, dtype):
    problem = on(device, draw_bcl(rng, dtype))
    with torch.autocast(device.type, torch.bfloat16):
        actual = value_and_gradients(paco.bcl_loss, problem)
    expected = value_and_gradients(paco.bcl_loss, cast(problem, torch.float32))
    assert actual["loss"].dtype == torch.float32
    assert torch.equal(actual["loss"], expected["loss"])
    for name in ("features", "prototypes"):
        assert torch.equal(actual[name], expected[name].to(dtype))


@pytest.mark.parametrize("edge", ["one row and a queue", "partial queue", "every class once"])
@pytest.mark.parametrize("gradients", [False, True])
def test_opcheck(rng, device, edge, gradients):
    problem = on(device, draw_bcl(rng, torch.float32, **EDGES[edge]))
    problem = with_gradients(problem) if gradients else problem
    positional = [problem.pop(name) for name in ("features", "labels", "prototypes")]
    torch.library.opcheck(torch.ops.paco.bcl_loss.default, positional, problem)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("grad", [False, True])
def test_opcheck_of_forward_and_backward(rng, device, dtype, grad):
    problem = on(device, draw_bcl(rng, dtype, queue=9, valid=4))
    operator = torch.ops.paco.bcl_loss_forward
    torch.library.opcheck(operator.default, (), {**problem, "grad": grad})
    _, gradient = operator(**problem, grad=True)
    rows = problem["features"], problem["prototypes"]
    grad_loss = torch.tensor(0.5, device=device)
    torch.library.opcheck(torch.ops.paco.bcl_loss_backward.default, (grad_loss, *rows, gradient))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("grad_loss", lambda x: x[None], r"grad_loss must be \[\], got \[1\]"),
        ("grad_loss", lambda x: x.to("meta"), "grad_loss must be on the device of features"),
        ("gradient", lambda x: x[1:], r"gradient must be \[7, 4\], got \[6, 4\]"),
        ("gradient", lambda x: x.to("meta"), "gradient must be on the device of features"),
    ],
)
def test_bad_input_of_the_backward_pass(name, change, message):
    arguments = dict(grad_loss=torch.tensor(1.0), features=torch.ones(5, 4))
    arguments |= dict(prototypes=torch.ones(2, 4), gradient=torch.ones(7, 4))
    torch.ops.paco.bcl_loss_backward(**arguments)
    arguments[name] = change(arguments[name])
    with pytest.raises(ValueError, match=f"bcl_loss: {message}"):
        torch.ops.paco.bcl_loss_backward(**arguments)


@pytest.fixture
def halves(rng):
    """Arguments of paco_loss_forward and paco_loss_backward with the class counts of BCL."""
    settings = dict(beta=1.0, gamma=1.0, base_temperature=None, label_smoothing=0.0)
    settings |= dict(soft_targets=None, alpha=1.0)
    labels = torch.tensor([0, 2, 0, 2, 2, 0, 1, 2])
    forward = dict(
        features=unit_rows(8, 6, torch.float32),
        labels=labels,
        center_logits=None,
        queue=None,
        queue_labels=None,
        num_valid=None,
        anchor_weight=None,
        num_anchors=5,
        **settings,
        temperature=0.2,
        features_grad=True,
        class_counts=labels.bincount(),
    )
    _, log_partition, pair_weight, anchor_grad = torch.ops.paco.paco_loss_forward(**forward)
    backward = dict(
        grad_loss=torch.tensor(0.5),
        features=forward["features"],
        labels=labels,
        center_logits=None,
        anchor_weight=None,
        log_partition=log_partition,
        pair_weight=pair_weight,
        anchor_grad=anchor_grad,
        **settings,
        temperature=0.2,
        features_grad=True,
        center_logits_grad=False,
        class_counts=labels.bincount(),
    )
    return forward, backward


def test_opcheck_of_the_paco_loss_with_class_counts(halves):
    forward, backward = halves
    torch.library.opcheck(torch.ops.paco.paco_loss_forward.default, (), forward)
    torch.library.opcheck(torch.ops.paco.paco_loss_backward.default, (), backward)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[None], r"class_counts must be \[C\] with C > 0, got \[1, 3\]"),
        (lambda x: x[:0], r"class_counts must be \[C\] with C > 0, got \[0\]"),
        (lambda x: x.int(), "class_counts must be int64, got Int"),
        (lambda x: x.to("meta"), "class_counts must be on the device of features"),
    ],
)
def test_bad_class_counts(halves, change, message):
    for half, operator in zip(halves, ("paco_loss_forward", "paco_loss_backward"), strict=True):
        half["class_counts"] = change(half["class_counts"])
        with pytest.raises(ValueError, match=message):
            getattr(torch.ops.paco, operator)(**half)


def test_a_label_without_a_class_count_is_an_error(halves):
    forward, _ = halves
    forward["class_counts"] = forward["class_counts"][:2]
    with pytest.raises(ValueError, match=r"labels must lie in \[0, C\)"):
        torch.ops.paco.paco_loss_forward(**forward)


def test_class_counts_beside_center_logits_are_an_error(halves):
    for half, operator in zip(halves, ("paco_loss_forward", "paco_loss_backward"), strict=True):
        half["center_logits"] = torch.randn(5, 3)
        with pytest.raises(ValueError, match="class_counts must be left out with center_logits"):
            getattr(torch.ops.paco, operator)(**half)


# ---- Memory --------------------------------------------------------------------------------------


def test_memory_of_a_step_is_far_below_the_pair_matrix_and_the_queue(monkeypatch, one_cpu):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    from harness import peak_memory

    # The matrix of pairs is 205 MB, the queue 51 MB, far more than what a step needs.
    assert peak_memory(training_step) < 10e6


def training_step() -> Callable[[], None]:
    torch.set_num_threads(2)
    features = unit_rows(512, 128, torch.float32).requires_grad_()
    prototypes = unit_rows(100, 128, torch.float32).requires_grad_()
    labels = torch.randint(100, (512,))
    queue = torch.empty(100_000, 128).uniform_(-0.1, 0.1)
    queue_labels = torch.randint(100, (100_000,))

    def step() -> None:
        paco.bcl_loss(features, labels, prototypes, queue, queue_labels, temperature=0.1).backward()

    return step


# ---- Bad input -----------------------------------------------------------------------------------


def bad(name, message, **change):
    return pytest.param(change, message, id=name)


nan, inf = float("nan"), float("inf")

# The good problem has M = 8 rows, D = 6, C = 5 classes and K = 10. A value that is a function gets
# the good one. The message has to name the argument and the value.
BAD_INPUTS = [
    bad("temperature zero", r"temperature\b.*\b0\b", temperature=0.0),
    bad("temperature negative", r"temperature\b.*-0\.1", temperature=-0.1),
    bad("temperature nan", r"temperature\b.*nan", temperature=nan),
    bad("temperature infinite", r"temperature\b.*inf", temperature=inf),
    bad("temperature that vanishes", r"temperature\b.*1e-40", temperature=1e-40),
    bad("temperature that overflows", r"temperature\b.*1e\+39", temperature=1e39),
    bad("features 1-d", r"features\b.*\[48\]", features=lambda x: x.flatten()),
    bad("features without rows", r"features\b.*\[0, 6\]", features=lambda x: x[:0]),
    bad("features without columns", r"features\b.*\[8, 0\]", features=lambda x: x[:, :0]),
    bad("features of integers", r"features\b.*Int", features=lambda x: x.int()),
    bad("labels too few", r"labels\b.*\[7\]", labels=lambda x: x[:7]),
    bad("labels int32", r"labels\b.*Int", labels=lambda x: x.int()),
    bad("labels elsewhere", r"labels\b.*meta", labels=lambda x: x.to("meta")),
    bad("label negative", r"labels\b.*-1", labels=lambda x: x.index_fill(0, torch.tensor(2), -1)),
    bad(
        "label without a prototype",
        r"labels\b.* got 7 at 2 with C = 5",
        labels=lambda x: x.index_fill(0, torch.tensor(2), 7),
    ),
    bad(
        "label in the queue without a prototype",
        r"queue_labels\b.* got 5 at 6 with C = 5",
        queue_labels=lambda x: x.index_fill(0, torch.tensor(6), 5),
    ),
    bad("prototypes 1-d", r"prototypes\b.*\[30\]", prototypes=lambda x: x.flatten()),
    bad("prototypes of no class", r"prototypes\b.*\[0, 6\]", prototypes=lambda x: x[:0]),
    bad("prototypes of another width", r"prototypes\b.*\[5, 4\]", prototypes=lambda x: x[:, :4]),
    bad("prototypes float64", r"prototypes\b.*Double", prototypes=lambda x: x.double()),
    bad("prototypes elsewhere", r"prototypes\b.*meta", prototypes=lambda x: x.to("meta")),
    bad("queue of another width", r"queue\b.*\[10, 5\]", queue=lambda x: x[:, :5]),
    bad("queue float64", r"queue\b.*Double", queue=lambda x: x.double()),
    bad("queue without labels", r"queue_labels\b", queue_labels=None),
    bad("queue labels without queue", r"queue\b.*queue_labels", queue=None, num_valid=None),
    bad("queue labels too few", r"queue_labels\b.*\[9\]", queue_labels=lambda x: x[:9]),
    bad("valid rows negative", r"num_valid\b.*-1", num_valid=torch.tensor(-1)),
    bad("valid rows more than rows", r"num_valid\b.*\b11\b", num_valid=torch.tensor([11])),
    bad("valid rows of two", r"num_valid\b.*\[2\]", num_valid=torch.tensor([3, 3])),
    bad("valid rows without queue", r"num_valid\b", queue=None, queue_labels=None),
]


@pytest.mark.parametrize("gradients", [False, True], ids=["plain", "gradients"])
@pytest.mark.parametrize(("change", "message"), BAD_INPUTS)
def test_bad_input(rng, change, message, gradients):
    problem = draw_bcl(rng, torch.float32, rows=8, dim=6, classes=5, queue=10, valid=7)
    problem = with_gradients(problem) if gradients else problem
    paco.bcl_loss(**problem)
    for name, value in change.items():
        problem[name] = value(problem[name].detach()) if callable(value) else value
    with pytest.raises(ValueError, match=re.compile(f"^bcl_loss: .*{message}", re.DOTALL)):
        paco.bcl_loss(**problem)


def test_a_loss_with_a_queue_inside_of_checkpointing_is_an_error(rng):
    problem = with_gradients(draw_bcl(rng, queue=9, valid=None))
    loss = torch.utils.checkpoint.checkpoint(lambda: paco.bcl_loss(**problem), use_reentrant=False)
    with pytest.raises(ValueError, match="bcl_loss: a loss with a queue cannot be computed again"):
        loss.backward()
