"""paco_loss on a GPU: the core tests' random problems, in every dtype, against the definition on
the CPU, and what only a GPU can get wrong: streams, graphs, synchronisation, asynchronous errors.
"""

import math
import subprocess
import sys
import textwrap
from typing import Any

import pytest
import torch
from problems import (
    Problem,
    assert_results_close,
    cast,
    draw_loss,
    identical,
    unit_rows,
    value_and_gradients,
)
from torch import Tensor

import paco
from paco import reference


def on(device: torch.device, problem: Problem) -> Problem:
    return {
        name: value.to(device) if isinstance(value, Tensor) else value
        for name, value in problem.items()
    }


def on_cpu(results: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.cpu() for name, value in results.items()}


def assert_as_defined(
    problem: Problem, device: torch.device, loss: float, gradients: float
) -> None:
    """Tolerances of the loss and of its gradients, against the definition in float64."""
    actual = on_cpu(value_and_gradients(paco.paco_loss, on(device, problem)))
    expected = value_and_gradients(reference.paco_loss, cast(problem, torch.float64))
    for name in expected:
        tolerance = loss if name == "loss" else gradients
        assert_results_close({name: actual[name]}, {name: expected[name]}, problem, tolerance)


# Of the loss and of the gradients. Pairs of 16-bit inputs are exact; their weights in the second
# product are rounded, as is the gradient. tf32 keeps 10 bits of everything, and exp(p / T) turns an
# absolute error of p / T into a relative one.
TOLERANCES = {
    torch.float64: (1e-10, 1e-10),
    torch.float32: (1e-5, 1e-5),
    torch.float16: (1e-5, 4 * torch.finfo(torch.float16).eps),
    torch.bfloat16: (1e-5, 2 * torch.finfo(torch.bfloat16).eps),
}
DTYPES = pytest.mark.parametrize("dtype", TOLERANCES, ids=str)

# What the kernels treat differently: tiles of 32 or 64 columns and 64 rows, rows that are not a
# multiple of 16 bytes, the widths of tiles, what is left to the ATen form.
EDGES: dict[str, dict[str, Any]] = {
    "one row": dict(rows=1, queue=None, centers=True),
    "one row and a queue": dict(rows=1, queue=33, valid=None),
    "one anchor of many rows": dict(rows=200, anchors=1),
    "just a tile": dict(rows=64, anchors=64, queue=64, valid=None, dim=64),
    "just over a tile": dict(rows=65, anchors=65, queue=65, valid=65, dim=72),
    "empty queue": dict(queue=50, valid=0),
    "partly filled queue": dict(queue=9001, valid=5003),
    "unaligned rows": dict(dim=33, rows=130, queue=300, valid=None),
    "one dimension": dict(dim=1),
    "wide tile": dict(dim=128, rows=96, queue=500, valid=None),
    "widest tile": dict(dim=256, rows=96, queue=500, valid=None),
    "wider than any tile": dict(dim=257, rows=96, queue=500, valid=None),
    "many anchors": dict(rows=1500, anchors=1200, dim=48, queue=3000, valid=None),
    "one class": dict(classes=1, rows=150, queue=700, valid=None),
    "many classes": dict(classes=9000, centers=True),
    "no centers": dict(centers=False, classes=4),
    "no centers, no positives": dict(centers=False, rows=1, queue=None),
    "balanced softmax": dict(centers=True, alpha=0.0, gamma=0.0),
    "pairs far above a partition without them": dict(
        centers=True, gamma=0.0, alpha=0.5, classes=2, temperature=0.005, rows=40, dim=2
    ),
    "label smoothing and weights": dict(
        centers=True, classes=9, label_smoothing=0.1, weighted=True
    ),
}


@DTYPES
@pytest.mark.parametrize("case", range(30))
def test_random_problem(rng, device, dtype, case):
    assert_as_defined(draw_loss(rng, dtype), device, *TOLERANCES[dtype])


@DTYPES
@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES.keys())
def test_edge(rng, device, dtype, edge):
    assert_as_defined(draw_loss(rng, dtype, **edge), device, *TOLERANCES[dtype])


@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES.keys())
def test_edge_on_the_tensor_cores_in_tf32(rng, device, edge):
    problem = draw_loss(rng, torch.float32, **edge)
    torch.set_float32_matmul_precision("high")
    try:
        tolerance = 2e-3 / problem["temperature"]
        assert_as_defined(problem, device, tolerance, tolerance)
    finally:
        torch.set_float32_matmul_precision("highest")


def test_center_logits_in_float32_beside_low_precision_features(rng, device):
    problem = draw_loss(rng, torch.bfloat16, centers=True)
    problem["center_logits"] = torch.randn(problem["center_logits"].shape)
    assert_as_defined(problem, device, *TOLERANCES[torch.bfloat16])


def test_strided_and_shifted_inputs(rng, device):
    problem = draw_loss(rng, torch.float32, rows=70, anchors=30, dim=16, queue=90, valid=50)
    expected = value_and_gradients(paco.paco_loss, on(device, problem))

    def strided(x: Tensor) -> Tensor:
        buffer = torch.zeros([2 * n for n in reversed(x.shape)], dtype=x.dtype, device=device)
        every_second = buffer[tuple(slice(None, None, 2) for _ in x.shape)]
        view = every_second.permute(tuple(range(x.dim()))[::-1])
        return view.copy_(x)

    def shifted(x: Tensor) -> Tensor:
        """Contiguous, but not at a multiple of 16 bytes."""
        return torch.zeros(x.numel() + 1, dtype=x.dtype, device=device)[1:].view_as(x).copy_(x)

    for change in (strided, shifted):
        views = {name: change(x) if isinstance(x, Tensor) else x for name, x in problem.items()}
        loss = paco.paco_loss(**views)
        assert_results_close({"loss": loss}, {"loss": expected["loss"]}, problem, 1e-6)


def test_rows_whose_place_takes_more_than_32_bits(device):
    dim = 256
    rows = 2**31 // dim + 1000
    if torch.cuda.get_device_properties(device).total_memory < 3 * rows * dim * 2:
        pytest.skip(f"the queue of this test takes {rows * dim * 2 / 1e9:.1f} GB")
    # Zeros, whose pairs are exp(0) = 1, and a few rows at the far end.
    queue = torch.zeros(rows, dim, dtype=torch.bfloat16, device=device)
    labels = torch.ones(rows, dtype=torch.int64, device=device)
    last = unit_rows(5, dim, torch.bfloat16)
    queue[-5:] = last.to(device)
    labels[-5:] = 0
    anchor = unit_rows(1, dim, torch.bfloat16)
    loss = paco.paco_loss(
        anchor.to(device),
        torch.zeros(1, dtype=torch.int64, device=device),
        None,
        queue,
        labels,
        num_anchors=1,
        alpha=1.0,
        temperature=0.2,
    )
    pairs = (anchor.double() @ last.double().T / 0.2).squeeze(0)
    expected = torch.log(pairs.exp().sum() + rows - 5) - pairs.mean()
    assert math.isclose(loss.item(), expected.item(), rel_tol=1e-5)


# ---- Same bits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_same_bits_on_every_call(rng, device, dtype, matmul_precision):
    problem = draw_loss(
        rng, dtype, rows=600, anchors=300, queue=5000, dim=96, centers=True, classes=50
    )
    problem = on(device, problem)
    first = value_and_gradients(paco.paco_loss, problem)
    for _ in range(10):
        assert identical(value_and_gradients(paco.paco_loss, problem), first)


def test_the_loss_alone_is_the_same(rng, device, matmul_precision):
    problem = on(device, draw_loss(rng, torch.float32))
    with_gradients = value_and_gradients(paco.paco_loss, problem)["loss"]
    assert torch.equal(paco.paco_loss(**problem), with_gradients)


# ---- Bad numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["features", "queue", "center_logits", "anchor_weight"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_a_bad_number_gives_nan(rng, device, matmul_precision, dtype, name, value, gamma):
    problem = draw_loss(
        rng, dtype, rows=90, anchors=40, classes=3, queue=110, valid=70, centers=True, weighted=True
    )
    problem["gamma"] = gamma
    value = abs(value) if name == "anchor_weight" else value  # -inf is an error of its own
    tensor = problem[name]
    tensor[: {"queue": 70}.get(name)].flatten()[rng.randrange(30)] = value
    assert paco.paco_loss(**on(device, problem)).isnan()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("labels[2] = -1", "labels must lie in"),
        ("labels[7] = 5", "labels must lie in"),  # not an anchor's
        ("queue_labels[6] = 5", "queue_labels must lie in"),
        ("queue_size.fill_(11)", "queue_size must lie in"),
        ("queue_size.fill_(-1)", "queue_size must lie in"),
        ("anchor_weight[1] = -2", "anchor_weight must be"),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_value_out_of_range_is_reported_by_the_next_synchronisation(change, message, dtype):
    # In a process of its own: after a device assertion there is no more CUDA in it.
    program = f"""
        import torch, paco
        device = torch.device("cuda")
        features = torch.eye(8, 6, dtype=torch.{dtype}, device=device)
        labels = torch.arange(8, device=device) % 5
        queue = features[:6].repeat(2, 1)[:10].contiguous()
        queue_labels = torch.arange(10, device=device) % 5
        queue_size = torch.tensor(7, device=device)
        anchor_weight = torch.ones(4, device=device)

        def loss():
            paco.paco_loss(features, labels, features[:4, :5].contiguous(), queue, queue_labels,
                           num_anchors=4, queue_size=queue_size, alpha=0.3, temperature=0.2,
                           anchor_weight=anchor_weight)

        loss()  # the first call loads the kernels, which takes longer than they run
        {change}
        torch.cuda.synchronize()
        torch.cuda._sleep(2_000_000_000)  # a second, and not one of the calls that follow
        loss()
        print("not waited for", flush=True)
        torch.cuda.synchronize()
    """
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True
    )
    assert process.stdout.startswith("not waited for")
    assert message in process.stdout + process.stderr
    assert "device-side assert" in process.stderr


# ---- Streams, graphs, synchronisation ------------------------------------------------------------


@pytest.fixture
def step_problem(rng, device) -> Problem:
    """One of constant sizes, with everything on the device."""
    problem = draw_loss(
        rng,
        torch.float32,
        rows=256,
        anchors=128,
        dim=32,
        classes=10,
        queue=1024,
        valid=700,
        centers=True,
        weighted=True,
        label_smoothing=0.1,
    )
    problem["queue"].nan_to_num_()  # rows that an enqueue counts in
    return on(device, problem)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_nothing_waits_for_the_device(step_problem, dtype):
    problem = cast(step_problem, dtype)
    value_and_gradients(paco.paco_loss, problem)
    queue_state = torch.tensor([1000, 1000], device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        value_and_gradients(paco.paco_loss, problem)
        paco.queue_enqueue_(
            problem["queue"],
            problem["queue_labels"],
            queue_state,
            problem["features"],
            problem["labels"],
        )
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_work_is_in_order_on_the_current_stream(step_problem):
    expected = value_and_gradients(paco.paco_loss, step_problem)
    late = {**step_problem, "features": torch.zeros_like(step_problem["features"])}
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(100_000_000)
        late["features"].copy_(step_problem["features"])
        actual = value_and_gradients(paco.paco_loss, late)
    stream.synchronize()
    assert identical(actual, expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_the_device_is_that_of_the_inputs(step_problem):
    expected = on_cpu(value_and_gradients(paco.paco_loss, step_problem))
    problem = on(torch.device("cuda", 1), step_problem)
    with torch.cuda.device(0):
        assert identical(on_cpu(value_and_gradients(paco.paco_loss, problem)), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_captured_in_a_graph(rng, step_problem, dtype):
    problem = cast(step_problem, dtype)
    features = problem["features"].clone().requires_grad_()
    logits = problem["center_logits"].clone().requires_grad_()
    queue_state = torch.tensor([700, 700], device="cuda")
    static = {
        **problem,
        "features": features,
        "center_logits": logits,
        "queue_size": queue_state[1],
    }

    def step() -> tuple[Tensor, ...]:
        loss = paco.paco_loss(**static)
        gradients = torch.autograd.grad(loss, (features, logits))
        paco.queue_enqueue_(
            static["queue"], static["queue_labels"], queue_state, features, static["labels"]
        )
        return loss.detach(), *gradients

    state = {name: static[name].clone() for name in ("queue", "queue_labels")}
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = step()

    # Replays with other inputs, next to the same steps without a graph.
    for name, value in state.items():
        static[name].copy_(value)
    queue_state.copy_(torch.tensor([700, 700]))
    eager = {**problem, **state}
    eager_state = torch.tensor([700, 700], device="cuda")
    for _ in range(4):
        rows = unit_rows(256, 32, dtype).cuda()
        with torch.no_grad():
            features.copy_(rows)
        eager.update(features=rows, queue_size=eager_state[1])
        expected = value_and_gradients(paco.paco_loss, eager)
        paco.queue_enqueue_(
            eager["queue"], eager["queue_labels"], eager_state, rows, eager["labels"]
        )
        graph.replay()
        actual = dict(zip(("loss", "features", "center_logits"), results, strict=True))
        assert identical(actual, expected)
        assert torch.equal(queue_state, eager_state)
        assert torch.equal(static["queue"], eager["queue"])


# ---- The rest of PyTorch -------------------------------------------------------------------------


def test_autocast_computes_in_float32(rng, step_problem):
    problem = cast(step_problem, torch.bfloat16)
    with torch.autocast("cuda", torch.bfloat16):
        actual = value_and_gradients(paco.paco_loss, problem)
    expected = value_and_gradients(paco.paco_loss, cast(problem, torch.float32))
    assert torch.equal(actual["loss"], expected["loss"])
    for name in ("features", "center_logits"):
        assert torch.equal(actual[name], expected[name].bfloat16())


def test_opcheck(step_problem):
    names = ["features", "labels", "center_logits", "queue", "queue_labels"]
    arguments = [step_problem.pop(name) for name in names]
    for leaf in (0, 2):
        arguments[leaf] = arguments[leaf].detach().requires_grad_()
    torch.library.opcheck(torch.ops.paco.paco_loss.default, tuple(arguments), step_problem)


def test_compiled_is_eager(step_problem):
    names = ["features", "labels", "center_logits", "queue", "queue_labels"]
    tensors = {name: step_problem[name] for name in names}

    def loss(features, labels, center_logits, queue, queue_labels):
        return paco.paco_loss(
            features,
            labels,
            center_logits,
            queue,
            queue_labels,
            num_anchors=128,
            alpha=0.1,
            temperature=0.2,
        )

    tensors["queue"] = unit_rows(1024, 32, torch.float32).cuda()
    tensors["queue_labels"] = torch.randint(10, (1024,), device="cuda")
    compiled = torch.compile(loss, fullgraph=True)
    assert identical(value_and_gradients(compiled, tensors), value_and_gradients(loss, tensors))


def test_memory_of_a_step_is_far_below_the_pair_matrix(device):
    features = unit_rows(2048, 128, torch.float32).to(device).requires_grad_()
    labels = torch.randint(100, (2048,), device=device)
    queue = unit_rows(65536, 128, torch.float32).to(device)
    queue_labels = torch.randint(100, (65536,), device=device)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    paco.paco_loss(
        features, labels, None, queue, queue_labels, num_anchors=1024, alpha=1.0, temperature=0.2
    ).backward()
    # The matrix of pairs takes 277 MB.
    assert torch.cuda.max_memory_allocated() - before < 60e6
