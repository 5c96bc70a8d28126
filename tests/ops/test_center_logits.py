import pytest
import torch
from helpers.modules import script

import paco
from paco import reference

scripted_logits = script(paco.center_logits)


def draw(rng, dtype=torch.float64, cosine=None, **fixed):
    """Arguments of center_logits; ``cosine`` says whether there is a scale."""
    anchors, width, classes = rng.randint(1, 20), rng.randint(1, 30), rng.randint(1, 15)
    problem = {
        "x": torch.randn(anchors, width, dtype=dtype),
        "weight": torch.randn(classes, width, dtype=dtype),
        "tau": rng.choice([1.0, 0.0, rng.uniform(0.1, 3)]),
    }
    if rng.random() < 0.5 if cosine is None else cosine:
        problem["scale"] = rng.choice([1.0, rng.uniform(0.1, 30)])
    else:
        problem["center_temperature"] = rng.choice([1.0, rng.uniform(0.1, 3)])
        if rng.random() < 0.7:
            problem["bias"] = torch.randn(classes, dtype=dtype)
    if rng.random() < 0.7:
        problem["log_prior"] = torch.rand(classes).log()
    return {**problem, **fixed}


def value_and_gradients(function, problem):
    names = [name for name in ("x", "weight", "bias") if name in problem]
    leaves = {name: problem[name].detach().clone().requires_grad_() for name in names}
    s = function(**{**problem, **leaves})
    # A fixed, uneven direction.
    upstream = torch.linspace(-1, 2, s.numel(), dtype=s.dtype).view_as(s)
    return [s.detach(), *torch.autograd.grad(s, list(leaves.values()), upstream)]


@pytest.mark.parametrize("case", range(30))
def test_random_problem_in_float64(rng, case):
    problem = draw(rng)
    torch.testing.assert_close(
        value_and_gradients(paco.center_logits, problem),
        value_and_gradients(reference.center_logits, problem),
        rtol=1e-11,
        atol=1e-12,
    )


@pytest.mark.parametrize("case", range(10))
def test_random_problem_in_float32(rng, case):
    problem = draw(rng, torch.float32)
    in_float64 = {k: v.double() if isinstance(v, torch.Tensor) else v for k, v in problem.items()}
    natural = 1.0
    if "scale" in problem:  # its gradient is a difference of rounded numbers over a row's norm
        smallest = min(problem[name].norm(dim=1).min().item() for name in ("x", "weight"))
        natural = problem["scale"] * max(natural, 1 / smallest)
    for actual, expected in zip(
        value_and_gradients(paco.center_logits, problem),
        value_and_gradients(reference.center_logits, in_float64),
        strict=True,
    ):
        assert actual.dtype == torch.float32
        error = (actual - expected).abs().max()
        assert error <= 1e-5 * max(expected.abs().max(), natural)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("prior", [False, True])
def test_dtype_is_promoted(rng, dtype, prior):
    problem = draw(rng, dtype, log_prior=None)
    if prior:
        problem["log_prior"] = torch.zeros(problem["weight"].size(0))
    expected = torch.promote_types(dtype, torch.float32) if prior else dtype
    assert paco.center_logits(**problem).dtype == expected


def test_the_prior_is_not_rounded_to_low_precision(rng):
    problem = draw(rng, torch.bfloat16, tau=1.0)
    problem["log_prior"] = torch.rand(problem["weight"].size(0)).log()
    without = paco.center_logits(**{**problem, "log_prior": None})
    assert torch.equal(paco.center_logits(**problem), without + problem["log_prior"])


def test_non_contiguous_inputs(rng):
    problem = draw(rng, cosine=True)
    strided = {
        **problem,
        "x": problem["x"].T.contiguous().T,
        "weight": problem["weight"].T.contiguous().T,
    }
    torch.testing.assert_close(paco.center_logits(**strided), paco.center_logits(**problem))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_cosine_of_a_zero_row_is_finite(rng, dtype):
    problem = draw(rng, dtype, cosine=True)
    problem["x"][0] = 0
    assert paco.center_logits(**problem).isfinite().all()


def test_gradient_of_the_cosine_of_a_zero_row_is_finite(rng):
    problem = draw(rng, cosine=True)
    problem["x"][0] = 0
    assert all(t.isfinite().all() for t in value_and_gradients(paco.center_logits, problem))


@pytest.mark.parametrize("cosine", [False, True])
def test_gradcheck(rng, cosine):
    problem = draw(rng, cosine=cosine)
    names = [name for name in ("x", "weight", "bias") if name in problem]
    leaves = tuple(problem[name][:4].clone().requires_grad_() for name in names)
    problem["log_prior"] = torch.rand(leaves[1].size(0), dtype=torch.float64).log()

    def logits(*tensors):
        return paco.center_logits(**{**problem, **dict(zip(names, tensors, strict=True))})

    assert torch.autograd.gradcheck(logits, leaves)
    assert torch.autograd.gradgradcheck(logits, leaves)


@pytest.mark.parametrize("case", range(6))
def test_scripted_is_eager(rng, case):
    problem = draw(rng, torch.float32)
    assert torch.equal(scripted_logits(**problem), paco.center_logits(**problem))


def test_published_supt_divides_the_prior_too():
    x, weight, bias, prior = torch.randn(4, 6), torch.randn(5, 6), torch.randn(5), torch.randn(5)
    supt = 0.5
    actual = paco.center_logits(x, weight, bias, prior, center_temperature=supt, tau=1 / supt)
    torch.testing.assert_close(actual, (x @ weight.T + bias + prior) / supt)


@pytest.mark.parametrize("case", range(6))
def test_opcheck(rng, case):
    problem = draw(rng, torch.float32)
    args = [problem.pop(name, None) for name in ("x", "weight", "bias", "log_prior")]
    for tensor in args[:3]:
        if tensor is not None:
            tensor.requires_grad_()
    torch.library.opcheck(torch.ops.paco.center_logits.default, tuple(args), problem)


def test_autocast_multiplies_in_low_precision_and_adds_the_prior_in_float32(rng):
    problem = draw(rng, torch.float32)
    problem["log_prior"] = torch.rand(problem["weight"].size(0)).log()
    with torch.autocast("cpu", torch.bfloat16):
        s = paco.center_logits(**problem)
    rounded = {k: problem[k].bfloat16() for k in ("x", "weight", "bias") if k in problem}
    assert s.dtype == torch.float32
    assert torch.equal(s, paco.center_logits(**{**problem, **rounded}))


# The good input has A = 4, F = 6, C = 5.
nan = float("nan")
BAD_INPUTS = {
    "temperature zero": (r"center_temperature\b.*\b0\b", dict(center_temperature=0.0)),
    "temperature negative": (r"center_temperature\b.*-1", dict(center_temperature=-1.0)),
    "temperature nan": (r"center_temperature\b.*nan", dict(center_temperature=nan)),
    "tau negative": (r"tau\b.*-1", dict(tau=-1.0)),
    "tau infinite": (r"tau\b.*inf", dict(tau=float("inf"))),
    "scale zero": (r"scale\b.*\b0\b", dict(scale=0.0, bias=None)),
    "scale nan": (r"scale\b.*nan", dict(scale=nan, bias=None)),
    "scale and bias": (r"bias\b.*scale", dict(scale=2.0)),
    "scale and temperature": (
        r"center_temperature\b.*0\.5",
        dict(scale=2.0, bias=None, center_temperature=0.5),
    ),
    "x 1-d": (r"x\b.*\[24\]", dict(x=torch.flatten)),
    "x of integers": (r"x\b.*Int", dict(x=torch.Tensor.int)),
    "weight of another width": (r"weight\b.*\[5, 5\]", dict(weight=lambda w: w[:, :5])),
    "weight 1-d": (r"weight\b.*\[30\]", dict(weight=torch.flatten)),
    "weight float64": (r"weight\b.*Double", dict(weight=torch.Tensor.double)),
    "weight elsewhere": (r"weight\b.*meta", dict(weight=lambda w: w.to("meta"))),
    "bias of other classes": (r"bias\b.*\[4\]", dict(bias=lambda b: b[:4])),
    "bias float64": (r"bias\b.*Double", dict(bias=torch.Tensor.double)),
    "prior of other classes": (r"log_prior\b.*\[4\]", dict(log_prior=lambda p: p[:4])),
    "prior in half precision": (r"log_prior\b.*Half", dict(log_prior=torch.Tensor.half)),
    "prior of integers": (r"log_prior\b.*Long", dict(log_prior=torch.Tensor.long)),
}


@pytest.mark.parametrize(("message", "change"), BAD_INPUTS.values(), ids=BAD_INPUTS.keys())
def test_bad_input(message, change):
    problem = {
        "x": torch.randn(4, 6),
        "weight": torch.randn(5, 6),
        "bias": torch.randn(5),
        "log_prior": torch.randn(5),
    }
    paco.center_logits(**problem)
    for name, value in change.items():
        problem[name] = value(problem[name]) if callable(value) else value
    with pytest.raises(ValueError, match=f"^center_logits: .*{message}"):
        paco.center_logits(**problem)
