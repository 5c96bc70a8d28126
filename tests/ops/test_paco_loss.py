import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.modules import script
from helpers.problems import (
    EDGES,
    HARD,
    SEED,
    assert_as_defined,
    assert_as_good_as_torch,
    assert_large_partition_is_shared,
    assert_results_close,
    cast,
    draw_loss,
    identical,
    on,
    unit_rows,
    value_and_gradients,
    with_gradients,
)

import paco
from paco import reference

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]

# ---- Values and gradients ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", range(30))
def test_random_problem(rng, device, dtype, case):
    assert_as_defined(draw_loss(rng, dtype), device)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES.keys())
def test_edge(rng, device, dtype, edge):
    assert_as_defined(draw_loss(rng, dtype, **edge), device)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", range(8))
def test_keys_without_a_gradient(rng, device, dtype, case):
    problem = draw_loss(rng, dtype, rows=rng.randint(2, 60), detach_keys=True)
    assert_as_defined(problem, device)
    gradient = value_and_gradients(paco.paco_loss, on(device, problem))["features"]
    assert not gradient[problem["num_anchors"] :].any()


@pytest.mark.parametrize("problem", HARD.values(), ids=HARD.keys())
def test_hard_problem(rng, device, problem):
    assert_as_good_as_torch(problem(), device)


def test_large_partition_is_shared_by_equal_rows(device):
    assert_large_partition_is_shared(device)


def test_center_logits_in_float32_beside_low_precision_features(rng, device):
    problem = draw_loss(rng, torch.bfloat16, centers=True)
    problem["center_logits"] = torch.randn(problem["center_logits"].shape)
    assert_as_defined(problem, device)


def test_num_anchors_left_out_is_the_rows_of_the_logits_else_all(rng, device):
    for centers in (True, False):
        sizes = dict(rows=9, anchors=5 if centers else 9, classes=2)
        problem = on(device, draw_loss(rng, **sizes, centers=centers))
        expected = value_and_gradients(paco.paco_loss, problem)
        del problem["num_anchors"]
        for function in (paco.paco_loss, scripted_loss):
            assert identical(value_and_gradients(function, problem), expected)
        torch.testing.assert_close(reference.paco_loss(**problem), expected["loss"])


@pytest.mark.parametrize("temperature", [0.03, 0.01, 0.005])
def test_low_temperature_does_not_underflow(rng, device, temperature):
    # The self pair, exp(1 / T), would swallow every other one if it set the maximum.
    problem = draw_loss(
        rng, torch.float32, rows=32, queue=64, dim=48, classes=4, centers=False, gamma=1.0
    )
    problem.update(temperature=temperature, base_temperature=temperature)
    actual = value_and_gradients(paco.paco_loss, on(device, problem))
    actual = on(torch.device("cpu"), actual)
    expected = value_and_gradients(reference.paco_loss, cast(problem, torch.float64))
    # exp turns the absolute rounding of p = z . z / T into a relative one.
    assert_results_close(actual, expected, problem, tolerance=2e-6 / temperature)


def strided(x: torch.Tensor) -> torch.Tensor:
    """The same values, every second one of a buffer in transposed order."""
    buffer = torch.full([2 * n for n in reversed(x.shape)], 9, dtype=x.dtype, device=x.device)
    view = buffer[tuple(slice(None, None, 2) for _ in x.shape)].permute(tuple(range(x.dim()))[::-1])
    return view.copy_(x)


def shifted(x: torch.Tensor) -> torch.Tensor:
    """The same values, contiguous, but not at a multiple of 16 bytes."""
    return x.new_zeros(x.numel() + 1)[1:].view_as(x).copy_(x)


@pytest.mark.parametrize("change", [strided, shifted])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_inputs_laid_out_in_another_way(rng, device, change, dtype):
    sizes = dict(rows=70, anchors=30, dim=16, classes=3, queue=90, valid=50)
    problem = draw_loss(rng, dtype, **sizes, centers=True, weighted=True)
    tensors = {k: x for k, x in on(device, problem).items() if isinstance(x, torch.Tensor)}
    views = {name: change(x) for name, x in tensors.items()}
    leaves = [views[name].requires_grad_() for name in ("features", "center_logits")]
    loss = paco.paco_loss(**{**problem, **views})
    gradients = torch.autograd.grad(loss, leaves)
    results = dict(loss=loss.detach(), features=gradients[0], center_logits=gradients[1])
    expected = value_and_gradients(reference.paco_loss, cast(problem, torch.float64))
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    assert_results_close(on(torch.device("cpu"), results), expected, problem, tolerance)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_queue_between_other_columns(rng, dtype):
    problem = draw_loss(rng, dtype, dim=6, queue=300, valid=None)
    expected = value_and_gradients(paco.paco_loss, problem)
    buffer = torch.full((300, 9), float("nan"), dtype=dtype)
    buffer[:, 1:7] = problem["queue"]
    problem["queue"] = buffer[:, 1:7]  # starts at an odd number, and so do most of its rows
    assert identical(value_and_gradients(paco.paco_loss, problem), expected)


def test_gradient_for_one_input_alone(rng):
    problem = draw_loss(rng, centers=True)
    expected = value_and_gradients(reference.paco_loss, problem)
    for name in ("features", "center_logits"):
        leaf = problem[name].clone().requires_grad_()
        loss = paco.paco_loss(**{**problem, name: leaf})
        (gradient,) = torch.autograd.grad(loss, leaf)
        assert_results_close({name: gradient}, {name: expected[name]}, problem, 1e-10)


def test_input_that_wants_a_gradient_only_after_the_loss(rng):
    problem = draw_loss(rng, centers=True)
    expected = value_and_gradients(reference.paco_loss, problem)
    features = problem["features"].clone()
    logits = problem["center_logits"].clone().requires_grad_()
    loss = paco.paco_loss(**{**problem, "features": features, "center_logits": logits})
    features.requires_grad_()
    loss.backward()
    assert features.grad is None
    gradient = {"center_logits": logits.grad}
    assert_results_close(gradient, {"center_logits": expected["center_logits"]}, problem, 1e-10)


def test_upstream_gradient_scales(rng):
    problem = draw_loss(rng, centers=True)
    plain = value_and_gradients(paco.paco_loss, problem)
    scaled = value_and_gradients(lambda **kwargs: -3 * paco.paco_loss(**kwargs), problem)
    for name in ("features", "center_logits"):
        torch.testing.assert_close(scaled[name], -3 * plain[name], rtol=1e-12, atol=1e-14)


def test_keys_without_gradient(rng):
    # PaCo: the rows after the anchors are a momentum encoder's.
    problem = draw_loss(rng, rows=16, anchors=8, centers=True)
    expected = value_and_gradients(reference.paco_loss, problem)
    queries = problem["features"][:8].clone().requires_grad_()
    keys = problem["features"][8:].clone()
    paco.paco_loss(**{**problem, "features": torch.cat([queries, keys])}).backward()
    assert_results_close(
        {"features": queries.grad}, {"features": expected["features"][:8]}, problem, 1e-10
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_same_bits_on_every_call(rng, device, dtype):
    sizes = dict(rows=300, anchors=200, queue=5000, dim=96, classes=50)
    problem = on(device, draw_loss(rng, dtype, **sizes, centers=True))
    first = value_and_gradients(paco.paco_loss, problem)
    for _ in range(3 if device.type == "cpu" else 10):
        assert identical(value_and_gradients(paco.paco_loss, problem), first)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads(rng, threads):
    problem = draw_loss(rng, torch.float32, rows=70, anchors=50, queue=3000, dim=32, centers=True)
    expected = value_and_gradients(reference.paco_loss, cast(problem, torch.float64))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        actual = value_and_gradients(paco.paco_loss, problem)
    finally:
        torch.set_num_threads(before)
    assert_results_close(actual, expected, problem, tolerance=1e-5)


@pytest.mark.parametrize("capability", ["default", "avx2", "avx512"])
def test_smaller_instruction_sets(capability):
    # The choice is made once a process. This one has made the widest, which the other tests see.
    sets = ["default", "avx2", "avx512"]
    here = torch.backends.cpu.get_cpu_capability().lower()
    # Only AVX-512 has a wider one, with bfloat16.
    if here in sets[: sets.index(capability)] or here == capability != "avx512":
        pytest.skip("the other tests have it: this processor has no wider one")
    tests = "cpu and (edge and (float32 or bfloat16) or low_temperature)"
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", __file__, "-k", tests],
        env={**os.environ, "PACO_CPU_CAPABILITY": capability, "PACO_TEST_SEED": str(SEED)},
        check=True,
    )


def test_same_loss_with_and_without_gradient(rng):
    problem = draw_loss(rng, torch.float32)
    expected = value_and_gradients(paco.paco_loss, problem)["loss"]
    tensors = {k: v.clone() for k, v in problem.items() if isinstance(v, torch.Tensor)}
    torch.testing.assert_close(paco.paco_loss(**problem), expected, rtol=1e-6, atol=1e-7)
    with torch.no_grad():
        loss = paco.paco_loss(**with_gradients(problem))
        assert not loss.requires_grad
        torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-7)
    with torch.inference_mode():
        loss = paco.paco_loss(**{**problem, **{k: v.clone() for k, v in tensors.items()}})
        torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "name", ["features", "queue", "center_logits", "anchor_weight", "soft_targets"]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_a_bad_number_gives_nan(rng, device, dtype, name, value, gamma):
    sizes = dict(rows=90, anchors=40, classes=3, queue=110, valid=70)
    soft = name == "soft_targets"
    problem = draw_loss(rng, dtype, **sizes, centers=True, weighted=True, soft=soft)
    # A weight of -inf and an infinite target are errors of their own.
    value = abs(value) if name == "anchor_weight" else float("nan") if soft else value
    problem["gamma"] = gamma
    for _ in range(5):
        tensor = problem[name].clone()
        rows = {"queue": 70}.get(name, tensor.size(0))
        tensor[:rows].flatten()[rng.randrange(tensor[:rows].numel())] = value
        bad = {**problem, name: tensor}
        assert reference.paco_loss(**bad).isnan()
        assert paco.paco_loss(**on(device, bad)).isnan()


# ---- Derivatives ---------------------------------------------------------------------------------


def gradcheck_problem(rng, soft=False):
    sizes = dict(rows=7, anchors=4, dim=5, classes=3, queue=6, valid=4)
    problem = draw_loss(rng, **sizes, centers=True, weighted=True, soft=soft)
    return with_gradients({**problem, "alpha": 0.3, "beta": 0.8, "gamma": 0.7})


@pytest.mark.parametrize("scripted", [False, True], ids=["eager", "scripted"])
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "soft targets"])
def test_gradcheck(rng, scripted, soft):
    problem = gradcheck_problem(rng, soft)
    function = scripted_loss if scripted else paco.paco_loss

    def loss(features, center_logits):
        return function(**{**problem, "features": features, "center_logits": center_logits})

    assert torch.autograd.gradcheck(loss, (problem["features"], problem["center_logits"]))


@pytest.mark.parametrize("first", ["features", "center_logits"])
@pytest.mark.parametrize("second", ["features", "center_logits"])
def test_second_derivative_is_an_error(rng, first, second):
    problem = gradcheck_problem(rng)
    loss = paco.paco_loss(**problem)
    (gradient,) = torch.autograd.grad(loss, problem[first], create_graph=True)
    with pytest.raises(RuntimeError, match="paco_loss_backward"):
        torch.autograd.grad(gradient.square().sum(), problem[second])


def test_second_derivative_through_the_upstream_gradient_is_an_error(rng):
    problem = gradcheck_problem(rng)
    factor = torch.ones((), dtype=torch.float64, requires_grad=True)
    loss = factor * paco.paco_loss(**problem)
    (gradient,) = torch.autograd.grad(loss, problem["features"], create_graph=True)
    with pytest.raises(RuntimeError, match="paco_loss_backward"):
        torch.autograd.grad(gradient.sum(), factor)


# ---- The same everywhere -------------------------------------------------------------------------


scripted_loss = script(paco.paco_loss)


@pytest.mark.parametrize("case", range(10))
def test_scripted_is_eager(rng, case):
    problem = draw_loss(rng, torch.float32, detach_keys=rng.choice([False, True]))
    assert identical(
        value_and_gradients(scripted_loss, problem), value_and_gradients(paco.paco_loss, problem)
    )


@pytest.mark.parametrize(
    ("soft", "detach_keys"), [(False, True), (True, False)], ids=["labels", "soft targets"]
)
def test_compiled_is_eager(rng, device, soft, detach_keys):
    settings = dict(alpha=0.3, gamma=0.8, temperature=0.2, base_temperature=0.3)

    def loss(features, **tensors):
        anchors = features.size(0) // 2
        smoothing = 0.0 if soft else 0.1
        return paco.paco_loss(
            features,
            num_anchors=anchors,
            label_smoothing=smoothing,
            detach_keys=detach_keys,
            **tensors,
            **settings,
        )

    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, dynamic=True)
    for n in (6, 9, 31):
        sizes = dict(rows=2 * n, anchors=n, dim=16, classes=4, queue=50, valid=20)
        problem = draw_loss(rng, torch.float32, **sizes, centers=True, weighted=True, soft=soft)
        problem = {name: x for name, x in problem.items() if isinstance(x, torch.Tensor)}
        problem["num_valid"] = torch.tensor(rng.randint(0, 50))
        problem["queue"] = unit_rows(50, 16, torch.float32)
        problem["queue_labels"] = torch.randint(4, (50,))
        problem = on(device, problem)
        with torch.compiler.set_stance("default" if n == 6 else "fail_on_recompile"):
            actual = value_and_gradients(compiled, problem)
        assert identical(actual, value_and_gradients(loss, problem))


def test_exported_is_eager(rng):
    class Loss(torch.nn.Module):
        def forward(self, features, labels, center_logits, queue, queue_labels, num_valid):
            return paco.paco_loss(
                features,
                labels,
                center_logits,
                queue,
                queue_labels,
                num_valid,
                alpha=0.1,
                temperature=0.2,
            )

    def arguments(anchors):
        problem = draw_loss(
            rng, rows=2 * anchors, anchors=anchors, dim=8, classes=3, queue=9, valid=4, centers=True
        )
        names = ["features", "labels", "center_logits", "queue", "queue_labels", "num_valid"]
        return tuple(
            problem[name].flatten()[0] if name == "num_valid" else problem[name] for name in names
        )

    anchors = torch.export.Dim("anchors", min=2)
    shapes = ({0: 2 * anchors}, {0: 2 * anchors}, {0: anchors}, None, None, None)
    exported = torch.export.export(Loss(), arguments(5), dynamic_shapes=shapes).module()
    for n in (5, 12):
        x = arguments(n)
        assert torch.equal(exported(*x), Loss()(*x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_computes_in_float32(rng, device, dtype):
    problem = on(device, draw_loss(rng, dtype, centers=True))
    with torch.autocast(device.type, torch.bfloat16):
        actual = value_and_gradients(paco.paco_loss, problem)
    expected = value_and_gradients(paco.paco_loss, cast(problem, torch.float32))
    assert actual["loss"].dtype == torch.float32
    assert torch.equal(actual["loss"], expected["loss"])
    for name in ("features", "center_logits"):
        assert torch.equal(actual[name], expected[name].to(dtype))


def test_autocast_joins_dtypes(rng):
    # bfloat16 projections, float32 center logits (the prior makes them so) and a float32 queue.
    problem = draw_loss(rng, torch.float32, centers=True, queue=30, weighted=False)
    mixed = {**problem, "features": problem["features"].bfloat16()}
    with torch.autocast("cpu", torch.bfloat16):
        loss = paco.paco_loss(**mixed)
    rounded = {**problem, "features": problem["features"].bfloat16().float()}
    assert torch.equal(loss, paco.paco_loss(**rounded))


OPCHECK_EDGES = [
    "queries and keys",
    "no centers",
    "label smoothing and weights",
    "soft targets and weights",
    "one row",
]


@pytest.mark.parametrize("edge", OPCHECK_EDGES)
@pytest.mark.parametrize("gradients", [False, True])
def test_opcheck(rng, device, edge, gradients):
    problem = on(device, draw_loss(rng, torch.float32, **EDGES[edge]))
    problem = with_gradients(problem) if gradients else problem
    torch.library.opcheck(torch.ops.paco.paco_loss.default, *arguments_of(problem))


def test_opcheck_of_keys_without_a_gradient(rng, device):
    problem = draw_loss(rng, torch.float32, rows=9, anchors=4, centers=True, detach_keys=True)
    problem = with_gradients(on(device, problem))
    torch.library.opcheck(torch.ops.paco.paco_loss.default, *arguments_of(problem))


def arguments_of(problem):
    """Positional and keyword arguments as the schema has them."""
    problem = dict(problem)
    names = ["features", "labels", "center_logits", "queue", "queue_labels"]
    return tuple(problem.pop(name, None) for name in names), problem


@pytest.fixture(params=[False, True], ids=["labels", "soft targets"])
def halves(rng, request):
    """Arguments of paco_loss_forward but for its flag, and of paco_loss_backward."""
    problem = draw_loss(
        rng,
        torch.float32,
        rows=10,
        anchors=6,
        classes=3,
        queue=7,
        centers=True,
        weighted=True,
        alpha=0.3,
        soft=request.param,
    )
    problem.setdefault("soft_targets", None)
    problem.setdefault("base_temperature", problem["temperature"])
    problem.setdefault("num_valid", None)
    problem.setdefault("label_smoothing", 0.0)
    args, kwargs = arguments_of(problem)
    _, log_partition, pair_weight, anchor_grad = torch.ops.paco.paco_loss_forward(
        *args, **kwargs, features_grad=True
    )
    names = ["features", "labels", "center_logits", "anchor_weight", "alpha", "beta", "gamma"]
    names += ["temperature", "base_temperature", "label_smoothing", "soft_targets"]
    backward = dict(
        {name: problem[name] for name in names},
        grad_loss=torch.tensor(0.5),
        log_partition=log_partition,
        pair_weight=pair_weight,
        anchor_grad=anchor_grad,
        features_grad=True,
        center_logits_grad=True,
    )
    return (args, kwargs), backward


def test_opcheck_of_forward_and_backward(halves):
    (args, kwargs), backward = halves
    for features_grad in (False, True):
        forward_kwargs = {**kwargs, "features_grad": features_grad}
        torch.library.opcheck(torch.ops.paco.paco_loss_forward.default, args, forward_kwargs)
    for flags in [(True, True), (True, False), (False, True)]:
        flags = dict(zip(["features_grad", "center_logits_grad"], flags, strict=True))
        backward_kwargs = {**backward, **flags}
        torch.library.opcheck(torch.ops.paco.paco_loss_backward.default, (), backward_kwargs)


def test_backward_of_a_strided_state(halves):
    _, backward = halves
    expected = torch.ops.paco.paco_loss_backward(**backward)
    for name in ("log_partition", "pair_weight", "anchor_grad"):
        backward[name] = torch.stack([backward[name]] * 2, dim=-1)[..., 0]
    for gradient, contiguous in zip(
        torch.ops.paco.paco_loss_backward(**backward), expected, strict=True
    ):
        assert torch.equal(gradient, contiguous)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(log_partition=lambda x: x.float()), "log_partition must be Double, got Float"),
        (dict(log_partition=lambda x: x[:3]), r"center_logits must be \[num_anchors, C\]"),
        (dict(grad_loss=lambda x: x[None]), r"grad_loss must be \[\], got \[1\]"),
        (dict(grad_loss=lambda x: x.double()), "grad_loss must be Float, got Double"),
        (dict(grad_loss=lambda x: x.to("meta")), "grad_loss must be on the device of features"),
        (dict(pair_weight=lambda x: x.double()), "pair_weight must be Float, got Double"),
        (dict(temperature=lambda x: 0.0), "temperature must be finite and > 0, got 0"),
        (dict(base_temperature=lambda x: -1.0), "base_temperature must be finite and > 0, got -1"),
        (dict(gamma=lambda x: -1.0), "gamma must be finite and >= 0, got -1"),
        (dict(alpha=lambda x: 1e-46), "alpha must be 0 or between .*, got 1e-46"),
        (dict(log_partition=lambda x: x[:0]), "num_anchors must lie between 1 .* got 0"),
        (dict(pair_weight=lambda x: x[:5]), r"pair_weight must be \[6\], got \[5\]"),
        (dict(anchor_grad=lambda x: x[:0]), r"anchor_grad must be \[6, .*\], got \[0"),
        (dict(labels=lambda x: x + 10**9), r"labels must lie in \[0, C\), got 100000000\d"),
        (
            dict(center_logits=lambda x: None, soft_targets=lambda x: None),
            "center_logits_grad needs center_logits",
        ),
        (dict(center_logits=lambda x: x[:5]), r"center_logits must be \[num_anchors, C\]"),
        (dict(anchor_weight=lambda x: x[:5]), r"anchor_weight must be \[num_anchors\]"),
    ],
)
def test_bad_input_of_backward(halves, change, message):
    _, backward = halves
    for name, value in change.items():
        backward[name] = value(backward[name])
    with pytest.raises(ValueError, match=f"^paco_loss: {message}"):
        torch.ops.paco.paco_loss_backward(**backward)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_gradient_of_center_logits_that_are_not_there_is_an_error(halves, device):
    _, backward = halves
    backward = on(torch.device(device), backward)
    backward |= dict(center_logits=None, soft_targets=None, gamma=1.0)
    with pytest.raises(ValueError, match="center_logits_grad needs center_logits"):
        torch.ops.paco.paco_loss_backward(**backward)


# ---- Memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_of_a_step_is_far_below_the_pair_matrix_and_the_queue(dtype, monkeypatch, one_cpu):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    from harness import peak_memory

    # The matrix of pairs is 102 MB, the queue 51 or 26 MB, far more than what a step needs.
    assert peak_memory(training_step, dtype) < 10e6


def training_step(dtype: torch.dtype) -> Callable[[], None]:
    torch.set_num_threads(2)
    features = unit_rows(512, 128, dtype).requires_grad_()
    labels = torch.randint(10, (512,))
    queue = torch.empty(100_000, 128, dtype=dtype).uniform_(-0.1, 0.1)
    queue_labels = torch.randint(10, (100_000,))

    def step() -> None:
        s = torch.randn(256, 10, requires_grad=True)
        loss = paco.paco_loss(
            features, labels, s, queue, queue_labels, num_anchors=256, alpha=0.05, temperature=0.2
        )
        loss.backward()

    return step


# ---- Bad input -----------------------------------------------------------------------------------


def bad(name, message, **change):
    return pytest.param(change, message, id=name)


nan, inf = float("nan"), float("inf")

# The good problem has M = 8 rows, A = 4 anchors, D = 6, C = 5 classes and K = 10. A value that is a
# function gets the good one. The message has to name the argument and the value.
BAD_INPUTS = [
    bad("alpha negative", r"alpha\b.*-0\.5", alpha=-0.5),
    bad("alpha nan", r"alpha\b.*nan", alpha=nan),
    bad("alpha infinite", r"alpha\b.*inf", alpha=inf),
    bad("beta negative", r"beta\b.*-0\.5", beta=-0.5),
    bad("beta nan", r"beta\b.*nan", beta=nan),
    bad("gamma negative", r"gamma\b.*-0\.5", gamma=-0.5),
    bad("gamma nan", r"gamma\b.*nan", gamma=nan),
    bad("alpha that vanishes", r"alpha\b.*1e-46", alpha=1e-46),
    bad("alpha that overflows", r"alpha\b.*1e\+38", alpha=1e38),
    bad("beta that vanishes", r"beta\b.*1e-46", beta=1e-46),
    bad("gamma that vanishes", r"gamma\b.*1e-50", gamma=1e-50),
    bad("gamma that is subnormal", r"gamma\b.*1e-40", gamma=1e-40),
    bad("gamma that overflows", r"gamma\b.*1e\+50", gamma=1e50),
    bad("temperature that vanishes", r"temperature\b.*1e-40", temperature=1e-40),
    bad("temperature that overflows", r"temperature\b.*1e\+39", temperature=1e39),
    bad("base temperature that vanishes", r"base_temperature\b.*1e-46", base_temperature=1e-46),
    bad("no weight at all", r"alpha\b.*\bbeta\b.*\b0\b", alpha=0.0, beta=0.0),
    bad("no centers and no alpha", r"alpha\b.*\b0\b", alpha=0.0, center_logits=None),
    bad("no centers and no gamma", r"gamma\b.*\b0\b", gamma=0.0, center_logits=None),
    bad("temperature zero", r"temperature\b.*\b0\b", temperature=0.0),
    bad("temperature negative", r"temperature\b.*-0\.1", temperature=-0.1),
    bad("temperature nan", r"temperature\b.*nan", temperature=nan),
    bad("temperature infinite", r"temperature\b.*inf", temperature=inf),
    bad("base temperature zero", r"base_temperature\b.*\b0\b", base_temperature=0.0),
    bad("base temperature negative", r"base_temperature\b.*-2", base_temperature=-2.0),
    bad("label smoothing one", r"label_smoothing\b.*\b1\b", label_smoothing=1.0),
    bad("label smoothing negative", r"label_smoothing\b.*-0\.1", label_smoothing=-0.1),
    bad(
        "label smoothing with one class",
        r"label_smoothing\b.*0\.1",
        label_smoothing=0.1,
        labels=torch.zeros_like,
        center_logits=lambda x: x[:, :1],
    ),
    bad("anchors zero", r"num_anchors\b.*\b0\b", num_anchors=0),
    bad("anchors negative", r"num_anchors\b.*-1", num_anchors=-1),
    bad("anchors more than rows", r"num_anchors\b.*\b9\b", num_anchors=9),
    bad("features 1-d", r"features\b.*\[48\]", features=lambda x: x.flatten()),
    bad("features 3-d", r"features\b.*\[8, 6, 1\]", features=lambda x: x[..., None]),
    bad("features without rows", r"features\b.*\[0, 6\]", features=lambda x: x[:0]),
    bad("features without columns", r"features\b.*\[8, 0\]", features=lambda x: x[:, :0]),
    bad("features of integers", r"features\b.*Int", features=lambda x: x.int()),
    bad("features complex", r"features\b.*Complex", features=lambda x: x.to(torch.complex64)),
    bad("labels too few", r"labels\b.*\[7\]", labels=lambda x: x[:7]),
    bad("labels 2-d", r"labels\b.*\[8, 1\]", labels=lambda x: x[:, None]),
    bad("labels int32", r"labels\b.*Int", labels=lambda x: x.int()),
    bad("labels float", r"labels\b.*Float", labels=lambda x: x.float()),
    bad("label negative", r"labels\b.*-1", labels=lambda x: x.index_fill(0, torch.tensor(2), -1)),
    bad("label C", r"labels\b.*\b5\b", labels=lambda x: x.index_fill(0, torch.tensor(2), 5)),
    bad("key's label C", r"labels\b.*\b5\b", labels=lambda x: x.index_fill(0, torch.tensor(7), 5)),
    bad("labels elsewhere", r"labels\b.*meta", labels=lambda x: x.to("meta")),
    bad("centers of other anchors", r"center_logits\b.*\[3, 5\]", center_logits=lambda x: x[:3]),
    bad("centers 1-d", r"center_logits\b.*\[20\]", center_logits=lambda x: x.flatten()),
    bad("centers of no class", r"center_logits\b.*\[4, 0\]", center_logits=lambda x: x[:, :0]),
    bad("centers float64", r"center_logits\b.*Double", center_logits=lambda x: x.double()),
    bad("centers elsewhere", r"center_logits\b.*meta", center_logits=lambda x: x.to("meta")),
    bad("centers sparse", r"center_logits\b.*Sparse", center_logits=lambda x: x.to_sparse()),
    bad("queue of another width", r"queue\b.*\[10, 5\]", queue=lambda x: x[:, :5]),
    bad("queue 1-d", r"queue\b.*\[60\]", queue=lambda x: x.flatten()),
    bad("queue float64", r"queue\b.*Double", queue=lambda x: x.double()),
    bad("queue elsewhere", r"queue\b.*meta", queue=lambda x: x.to("meta")),
    bad("queue sparse", r"queue\b.*Sparse", queue=lambda x: x.to_sparse()),
    bad("queue without labels", r"queue_labels\b", queue_labels=None),
    bad("queue labels without queue", r"queue\b.*queue_labels", queue=None, num_valid=None),
    bad("queue labels too few", r"queue_labels\b.*\[9\]", queue_labels=lambda x: x[:9]),
    bad("queue labels int32", r"queue_labels\b.*Int", queue_labels=lambda x: x.int()),
    bad("valid rows negative", r"num_valid\b.*-1", num_valid=torch.tensor(-1)),
    bad("valid rows more than rows", r"num_valid\b.*\b11\b", num_valid=torch.tensor([11])),
    bad("valid rows of two", r"num_valid\b.*\[2\]", num_valid=torch.tensor([3, 3])),
    bad("valid rows float", r"num_valid\b.*Float", num_valid=torch.tensor(3.0)),
    bad("valid rows sparse", r"num_valid\b.*Sparse", num_valid=torch.tensor([3]).to_sparse()),
    bad("valid rows without queue", r"num_valid\b", queue=None, queue_labels=None),
    bad("weights too few", r"anchor_weight\b.*\[3\]", anchor_weight=lambda x: x[:3]),
    bad("weights of integers", r"anchor_weight\b.*Long", anchor_weight=lambda x: x.long()),
    bad("weights sparse", r"anchor_weight\b.*Sparse", anchor_weight=lambda x: x.to_sparse()),
    bad(
        "weights negative", r"anchor_weight\b.*-2", anchor_weight=lambda x: -2 * torch.ones_like(x)
    ),
    bad("weights to learn", r"anchor_weight\b.*grad", anchor_weight=lambda x: x.requires_grad_()),
    bad("targets of other anchors", r"soft_targets\b.*\[3, 5\]", soft_targets=lambda x: x[:3]),
    bad("targets of other classes", r"soft_targets\b.*\[4, 4\]", soft_targets=lambda x: x[:, :4]),
    bad("targets bfloat16", r"soft_targets\b.*BFloat16", soft_targets=lambda x: x.bfloat16()),
    bad("targets of integers", r"soft_targets\b.*Long", soft_targets=lambda x: x.long()),
    bad("targets elsewhere", r"soft_targets\b.*meta", soft_targets=lambda x: x.to("meta")),
    bad(
        "target negative",
        r"soft_targets\b.*-0\.5",
        soft_targets=torch.tensor([1.5, -0.5, 0, 0, 0]).repeat(4, 1),
    ),
    bad("targets of sum two", r"soft_targets\b.*sum to 1.*\b2\b", soft_targets=lambda x: 2 * x),
    bad("targets infinite", r"soft_targets\b.*sum to 1.*inf", soft_targets=lambda x: x + inf),
    bad("targets and smoothing", r"label_smoothing\b.*soft_targets.*0\.1", label_smoothing=0.1),
    bad("targets without centers", r"soft_targets\b.*center_logits", center_logits=None),
    bad("targets to learn", r"soft_targets\b.*grad", soft_targets=lambda x: x.requires_grad_()),
]


@pytest.mark.parametrize("gradients", [False, True], ids=["plain", "gradients"])
@pytest.mark.parametrize(("change", "message"), BAD_INPUTS)
def test_bad_input(rng, change, message, gradients):
    problem = draw_loss(
        rng,
        torch.float32,
        rows=8,
        anchors=4,
        dim=6,
        classes=5,
        queue=10,
        valid=7,
        centers=True,
        weighted=True,
        soft="soft_targets" in message,
        alpha=0.3,
        beta=1.0,
        gamma=1.0,
    )
    problem = with_gradients(problem) if gradients else problem
    paco.paco_loss(**problem)
    for name, value in change.items():
        problem[name] = value(problem[name].detach()) if callable(value) else value
    with pytest.raises(ValueError, match=re.compile(f"^paco_loss: .*{message}", re.DOTALL)):
        paco.paco_loss(**problem)


def test_scalars_out_of_range_for_float32_are_right_in_float64(rng, device):
    problem = draw_loss(rng, rows=8, classes=3, centers=True, alpha=1e-46, beta=1e-50, gamma=1e-44)
    assert_as_defined(problem, device)


def test_labels_without_centers_may_be_any_class_number(rng):
    problem = draw_loss(rng, centers=False, rows=12)
    shifted = {**problem, "labels": problem["labels"] + 10**6}
    if "queue_labels" in problem:
        shifted["queue_labels"] = problem["queue_labels"] + 10**6
    assert torch.equal(paco.paco_loss(**problem), paco.paco_loss(**shifted))
