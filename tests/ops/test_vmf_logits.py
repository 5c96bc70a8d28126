import math

import pytest
import torch
from helpers.modules import script
from helpers.problems import on, unit_rows
from helpers.von_mises_fisher import assert_solved, draw_vmf

import paco
from paco import reference

scripted_logits = script(paco.vmf_logits)

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", range(6))
def test_random_problem(rng, device, dtype, case):
    assert_solved(draw_vmf(rng, dtype), device)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("dim", [2, 3, 4, 7, 16, 32, 33, 64, 127, 128, 512, 1023, 2048])
def test_every_dimension_and_concentration(rng, device, dtype, dim):
    problem = draw_vmf(rng, dtype, dim=dim, classes=13, anchors=3)
    kappa = [0, 1e-6, 0.01, 0.3, 1, 3, 10, 30, 100, 1e3, 9e3, 99_999, 1e5]
    problem["concentration"] = torch.tensor(kappa).to(problem["concentration"].dtype)
    problem["mean_direction"] = unit_rows(13, dim).to(problem["mean_direction"].dtype)
    assert_solved(problem, device)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("dim", [2, 5, 32, 33, 128, 1024])
@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0, 1e3])
def test_features_opposite_to_a_direction(device, dtype, dim, temperature):
    """Where kappa = |z| / T nothing is left of kappa~."""
    mu = unit_rows(3, dim)
    kappa = torch.tensor([0.5, 1, 2], dtype=torch.float64) / temperature
    problem = {
        "features": (-mu).to(dtype),
        "mean_direction": mu.to(dtype),
        "concentration": kappa.to(dtype),
        "temperature": temperature,
    }
    assert_solved(problem, device)


def test_many_rows_and_classes(rng, device):
    problem = on(device, draw_vmf(rng, torch.float32, anchors=150, classes=300, dim=40))
    problem["features"].requires_grad_()
    actual = paco.vmf_logits(**problem)
    upstream = torch.randn_like(actual)
    (gradient,) = torch.autograd.grad(actual, problem["features"], upstream)
    double = {k: v.double() if isinstance(v, torch.Tensor) else v for k, v in problem.items()}
    double["features"] = double["features"].detach().requires_grad_()
    expected = paco.vmf_logits(**double)
    (expected_gradient,) = torch.autograd.grad(expected, double["features"], upstream.double())
    reach = problem["features"].norm(dim=1).max().item() / problem["temperature"]
    assert (actual - expected).abs().max() <= 1e-5 * max(1, reach / 10)
    largest = expected_gradient.abs().max()
    assert (gradient - expected_gradient).abs().max() <= 1e-5 * max(largest, 1)


@pytest.mark.parametrize("case", range(10))
def test_is_the_definition(rng, device, case):
    problem = draw_vmf(rng)
    actual = paco.vmf_logits(**on(device, problem)).cpu()
    expected = reference.vmf_logits(**problem)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dim", [2, 3, 33, 128])
def test_no_concentration_is_a_bessel_function_of_the_length_alone(device, dim):
    problem = {
        "features": unit_rows(4, dim),
        "mean_direction": unit_rows(2, dim),
        "concentration": torch.zeros(2, dtype=torch.float64),
        "temperature": 0.1,
    }
    # 0F1(; nu + 1; 25), by its series
    value, term = 0.0, 1.0
    for k in range(200):
        value += term
        term *= 25 / ((k + 1) * (dim / 2 + k))
    expected = torch.full((4, 2), math.log(value), dtype=torch.float64)
    actual = paco.vmf_logits(**on(device, problem)).cpu()
    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-11)
    if dim == 128:
        assert round(math.log(value), 3) == 0.389


def test_a_row_of_zeros_is_a_uniform_class_whatever_its_concentration(rng, device):
    problem = draw_vmf(rng, classes=2)
    problem["mean_direction"][0] = 0
    problem["mean_direction"][1] = unit_rows(1, problem["features"].size(1))
    problem["concentration"][:] = torch.tensor([50.0, 0.0])
    s = paco.vmf_logits(**on(device, problem))
    torch.testing.assert_close(s[:, 0], s[:, 1])


def test_a_feature_of_zeros_has_logits_and_no_gradient_but_kappa_s(rng, device):
    problem = draw_vmf(rng, torch.float32, dim=100)
    problem["features"] = torch.zeros_like(problem["features"])
    assert paco.vmf_logits(**on(device, problem)).abs().max() <= 1e-6
    assert_solved(problem, device)


def test_narrow_classes_are_those_of_a_cosine_classifier(device):
    """With kappa far above |z| / T, s tends to z . mu / T."""
    z, mu = unit_rows(5, 16), unit_rows(4, 16)
    kappa = torch.full((4,), 1e5, dtype=torch.float64)
    s = paco.vmf_logits(z.to(device), mu.to(device), kappa.to(device), 1.0).cpu()
    torch.testing.assert_close(s, z @ mu.T, rtol=0, atol=2e-4)


def test_gradcheck(rng, device):
    problem = on(device, draw_vmf(rng, dim=rng.choice([2, 5, 40]), largest=30))
    problem["temperature"] = max(problem["temperature"], 0.3)
    features = problem.pop("features").requires_grad_()
    assert torch.autograd.gradcheck(lambda z: paco.vmf_logits(z, **problem), (features,))


@pytest.mark.parametrize("requires_grad", [True, False])
@pytest.mark.parametrize("dim", [5, 40])
def test_opcheck(rng, device, requires_grad, dim):
    problem = on(device, draw_vmf(rng, torch.float32, dim=dim))
    arguments = tuple(problem.values())
    arguments[0].requires_grad_(requires_grad)
    torch.library.opcheck(torch.ops.paco.vmf_logits.default, arguments)


def test_equal_inputs_give_equal_bits_on_any_number_of_threads(rng, device):
    problem = on(device, draw_vmf(rng, torch.float32, anchors=200, classes=400, dim=50))
    problem["features"].requires_grad_()
    upstream = torch.randn(200, 400, device=device)

    def run():
        s = paco.vmf_logits(**problem)
        return s.detach(), *torch.autograd.grad(s, problem["features"], upstream)

    before = torch.get_num_threads()
    first = run()
    try:
        for threads in (1, 3, before):
            torch.set_num_threads(threads)
            for one, other in zip(first, run(), strict=True):
                assert torch.equal(one, other)
    finally:
        torch.set_num_threads(before)


def test_compiled_and_scripted_are_eager(rng):
    problem = draw_vmf(rng, torch.float32)
    expected = paco.vmf_logits(**problem)
    compiled = torch.compile(paco.vmf_logits, fullgraph=True, dynamic=True, backend="aot_eager")
    assert torch.equal(compiled(**problem), expected)
    assert torch.equal(scripted_logits(**problem), expected)


def test_autocast_computes_in_float32(rng, device):
    problem = on(device, draw_vmf(rng, torch.float32, dim=64))
    low = problem["features"].bfloat16().requires_grad_()
    with torch.autocast(device.type, dtype=torch.bfloat16):
        s = paco.vmf_logits(**{**problem, "features": low})
    assert torch.equal(s, paco.vmf_logits(**{**problem, "features": low.float()}))
    s.sum().backward()
    assert low.grad.dtype == torch.bfloat16


def test_non_contiguous_inputs(rng, device):
    problem = on(device, draw_vmf(rng, torch.float32, dim=48, anchors=5, classes=6))
    strided = {
        k: v.repeat_interleave(2, dim=0)[::2] if isinstance(v, torch.Tensor) else v
        for k, v in problem.items()
    }
    strided["features"] = problem["features"].T.contiguous().T.requires_grad_()
    problem["features"].requires_grad_()
    s, expected = paco.vmf_logits(**strided), paco.vmf_logits(**problem)
    assert torch.equal(s, expected)
    gradients = [
        torch.autograd.grad(value.sum(), p["features"])[0]
        for value, p in ((s, strided), (expected, problem))
    ]
    assert torch.equal(*gradients)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dim", [3, 64])
def test_a_feature_that_is_not_finite_has_nan_in_its_row_alone(rng, device, bad, dim):
    problem = draw_vmf(rng, torch.float32, anchors=3, dim=dim)
    problem["features"][1, rng.randrange(dim)] = bad
    s = paco.vmf_logits(**on(device, problem))
    assert s[1].isnan().all()
    assert s[[0, 2]].isfinite().all()


def test_a_second_derivative_is_an_error(rng):
    problem = draw_vmf(rng)
    problem["features"].requires_grad_()
    s = paco.vmf_logits(**problem).sum()
    (gradient,) = torch.autograd.grad(s, problem["features"], create_graph=True)
    with pytest.raises(RuntimeError, match=r"derivative.*vmf_logits_backward"):
        gradient.sum().backward()


@pytest.mark.parametrize("name", ["mean_direction", "concentration"])
def test_a_gradient_to_the_statistics_is_an_error(rng, name):
    problem = draw_vmf(rng)
    problem[name].requires_grad_()
    with pytest.raises(ValueError, match=f"^vmf_logits: {name} must not require a gradient"):
        paco.vmf_logits(**problem)
    with torch.no_grad():
        paco.vmf_logits(**problem)


# The good call has A = 3, D = 4, C = 5.
BAD_INPUTS = {
    "features 1-d": ("features", r"features\b.*\[12\]", torch.flatten),
    "no features": ("features", r"features\b.*\[0, 4\]", lambda x: x[:0]),
    "integers": ("features", r"features\b.*Int", torch.Tensor.int),
    "sparse": ("features", r"features\b.*[Ss]parse", torch.Tensor.to_sparse),
    "directions of another width": ("mean_direction", r"\[3, 4\].*\[5, 3\]", lambda x: x[:, :3]),
    "no directions": ("mean_direction", r"mean_direction\b.*\[0, 4\]", lambda x: x[:0]),
    "directions in float64": ("mean_direction", r"mean_direction\b.*Double", torch.Tensor.double),
    "directions elsewhere": ("mean_direction", r"mean_direction\b.*meta", lambda x: x.to("meta")),
    "a direction too long": ("mean_direction", r"length 1 or 0, got 2 at 3", lambda x: scaled(x)),
    "a direction of NaN": ("mean_direction", r"got nan at 3", lambda x: scaled(x, math.nan)),
    "concentrations too few": ("concentration", r"concentration\b.*\[4\]", lambda x: x[:4]),
    "concentrations in float16": ("concentration", r"concentration\b.*Half", torch.Tensor.half),
    "a concentration below 0": ("concentration", r"got -1 at 3", lambda x: replaced(x, -1.0)),
    "a concentration of NaN": ("concentration", r"got nan at 3", lambda x: replaced(x, math.nan)),
    "one without end": ("concentration", r"got inf at 3", lambda x: replaced(x, math.inf)),
    "temperature 0": ("temperature", r"temperature\b.*> 0, got 0", lambda _: 0.0),
    "temperature NaN": ("temperature", r"temperature\b.*got nan", lambda _: math.nan),
    "temperature tiny": ("temperature", r"temperature\b.*float64, got 1e-40", lambda _: 1e-40),
}


def scaled(x, factor=2.0):
    return x * torch.tensor([1, 1, 1, factor, 1])[:, None]


def replaced(x, value):
    x = x.clone()
    x[3] = value
    return x


@pytest.mark.parametrize(("name", "message", "change"), BAD_INPUTS.values(), ids=BAD_INPUTS.keys())
def test_bad_input(name, message, change):
    mean_direction = torch.eye(4).repeat(2, 1)[:5]
    problem = {
        "features": torch.randn(3, 4),
        "mean_direction": mean_direction,
        "concentration": torch.ones(5),
        "temperature": 0.5,
    }
    paco.vmf_logits(**problem)
    problem[name] = change(problem[name])
    with pytest.raises(ValueError, match=f"^vmf_logits: .*{message}"):
        paco.vmf_logits(**problem)


def test_one_dimension_is_an_error():
    z = torch.ones(2, 1)
    with pytest.raises(ValueError, match=r"^vmf_logits: features must be \[A, D\] with D >= 2"):
        paco.vmf_logits(z, z, torch.ones(2), 1.0)


def test_compiled_bad_input_is_the_eager_error():
    compiled = torch.compile(paco.vmf_logits, fullgraph=True, backend="aot_eager")
    with pytest.raises(Exception, match="mean_direction must be"):
        compiled(torch.randn(2, 4), torch.zeros(3, 5), torch.zeros(3), 1.0)
