"""A GPU's own ways to go wrong: streams, graphs, late errors, memory, tensor cores."""

import math
import subprocess
import sys
import textwrap

import pytest
import torch
from helpers.problems import (
    EDGES,
    Problem,
    assert_results_close,
    cast,
    draw_loss,
    identical,
    on,
    unit_rows,
    value_and_gradients,
)
from helpers.queues import assert_equal, empty_queue
from torch import Tensor

import paco
from paco import reference


@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES.keys())
def test_edge_on_the_tensor_cores_in_tf32(rng, device, tensor_cores, edge):
    problem = draw_loss(rng, torch.float32, **edge)
    # tf32 keeps 10 bits of everything, and exp(p / T) turns an absolute error of p / T into a
    # relative one.
    assert_results_close(
        on(torch.device("cpu"), value_and_gradients(paco.paco_loss, on(device, problem))),
        value_and_gradients(reference.paco_loss, cast(problem, torch.float64)),
        problem,
        2e-3 / problem["temperature"],
    )


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


def test_same_bits_on_every_call_in_tf32(rng, device, tensor_cores):
    sizes = dict(rows=600, anchors=300, queue=5000, dim=96, classes=50)
    problem = on(device, draw_loss(rng, torch.float32, **sizes, centers=True))
    first = value_and_gradients(paco.paco_loss, problem)
    for _ in range(10):
        assert identical(value_and_gradients(paco.paco_loss, problem), first)
    assert torch.equal(paco.paco_loss(**problem), first["loss"])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["features", "queue", "center_logits"])
@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_a_bad_number_gives_nan_in_tf32(rng, device, tensor_cores, name, value, gamma):
    sizes = dict(rows=90, anchors=40, classes=3, queue=110, valid=70)
    problem = draw_loss(rng, torch.float32, **sizes, centers=True)
    problem["gamma"] = gamma
    problem[name][: {"queue": 70}.get(name)].flatten()[rng.randrange(30)] = value
    assert paco.paco_loss(**on(device, problem)).isnan()


# ---- Values out of range, found without waiting --------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("labels[2] = -1", "labels must lie in"),
        ("labels[7] = 5", "labels must lie in"),  # not an anchor's
        ("queue_labels[6] = 5", "queue_labels must lie in"),
        ("num_valid.fill_(11)", "num_valid must lie in"),
        ("num_valid.fill_(-1)", "num_valid must lie in"),
        ("anchor_weight[1] = -2", "anchor_weight must be"),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_value_out_of_range_is_reported_by_the_next_synchronisation(change, message, dtype):
    # The program has a process of its own: after a device assertion there is no more CUDA in it.
    program = f"""
        import torch, paco
        device = torch.device("cuda")
        features = torch.eye(8, 6, dtype=torch.{dtype}, device=device)
        labels = torch.arange(8, device=device) % 5
        queue = features[:6].repeat(2, 1)[:10].contiguous()
        queue_labels = torch.arange(10, device=device) % 5
        num_valid = torch.tensor(7, device=device)
        anchor_weight = torch.ones(4, device=device)

        def loss():
            paco.paco_loss(features, labels, features[:4, :5].contiguous(), queue, queue_labels,
                           num_anchors=4, num_valid=num_valid, alpha=0.3, temperature=0.2,
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
    second = torch.device("cuda", 1)
    expected = on(second, value_and_gradients(paco.paco_loss, step_problem))
    with torch.cuda.device(0):
        assert identical(value_and_gradients(paco.paco_loss, on(second, step_problem)), expected)


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
        "num_valid": queue_state[1],
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
        eager.update(features=rows, num_valid=eager_state[1])
        expected = value_and_gradients(paco.paco_loss, eager)
        paco.queue_enqueue_(
            eager["queue"], eager["queue_labels"], eager_state, rows, eager["labels"]
        )
        graph.replay()
        actual = dict(zip(("loss", "features", "center_logits"), results, strict=True))
        assert identical(actual, expected)
        assert torch.equal(queue_state, eager_state)
        assert torch.equal(static["queue"], eager["queue"])


def test_queues_on_two_streams_do_not_meet(device):
    queues = [empty_queue(5000, 128, torch.float32, device) for _ in range(2)]
    slow = [empty_queue(5000, 128, torch.float32, torch.device("cpu")) for _ in range(2)]
    streams = [torch.cuda.Stream() for _ in range(2)]
    batches = [
        [(torch.randn(3000, 128), torch.randint(9, (3000,))) for _ in range(4)] for _ in range(2)
    ]
    on_device = [[(k.to(device), y.to(device)) for k, y in batch] for batch in batches]
    torch.cuda.synchronize()
    for step in range(4):
        for i, stream in enumerate(streams):
            with torch.cuda.stream(stream):
                paco.queue_enqueue_(*queues[i], *on_device[i][step])
            reference.queue_enqueue_(*slow[i], *batches[i][step])
    torch.cuda.synchronize()
    for actual, expected in zip(queues, slow, strict=True):
        assert_equal(actual, expected)


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
