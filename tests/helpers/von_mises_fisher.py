"""Random problems for vmf_logits, and their solution by mpmath."""

import random
from typing import Any

import mpmath
import torch
from torch import Tensor

import paco
from helpers.problems import Problem, on, unit_rows

# Decimal places of the solution, more than float64 has where logarithms of 1e5 are subtracted.
DIGITS = 30


def draw_vmf(rng: random.Random, dtype: torch.dtype = torch.float64, **fixed: Any) -> Problem:
    """Arguments of vmf_logits. ``fixed`` takes the place of what would be drawn.

    Sizes are anchors (A), classes (C) and dim (D); largest is the end of the concentrations.
    """

    def choose(name: str, value: Any) -> Any:
        return fixed.pop(name) if name in fixed else value

    anchors, classes = choose("anchors", rng.randint(1, 9)), choose("classes", rng.randint(1, 9))
    dim = choose("dim", rng.choice([2, 3, rng.randint(2, 40), rng.randint(2, 200)]))
    largest = choose("largest", 1e3)
    statistics = torch.float64 if dtype == torch.float64 else torch.float32
    kappa = largest ** torch.empty(classes, dtype=torch.float64).uniform_(-1, 1)
    direction = unit_rows(classes, dim)
    if rng.random() < 0.3:  # a class that is uniform on the sphere
        direction[rng.randrange(classes)] = 0
    if rng.random() < 0.3:
        kappa[rng.randrange(classes)] = 0
    features = unit_rows(anchors, dim)
    # Features beside the directions and opposite to them, as well as anywhere.
    pull = torch.empty(anchors, 1, dtype=torch.float64).uniform_(-9, 9)
    features = features + pull * direction[torch.randint(classes, (anchors,))]
    features = torch.nn.functional.normalize(features, dim=1)
    length = 10 ** torch.empty(anchors, 1, dtype=torch.float64).uniform_(-1, 0.3)
    problem = {
        "features": (features * rng.choice([1.0, length])).to(dtype),
        "mean_direction": direction.to(statistics),
        "concentration": kappa.to(statistics),
        "temperature": 10 ** rng.uniform(-1.3, 0.5),
    }
    return {**problem, **fixed}


def assert_solved(problem: Problem, device: torch.device) -> None:
    """Logits and gradient are mpmath's, as well as docs/numerics.md promises.

    An absolute error up to |z| / T = 10, and a share of |z| / T beyond, as of any logit. Besides,
    the product z . mu is one of float32 from D = 33 on, and counts more than |z| / T times where a
    feature is opposite to a direction and as strong.
    """
    problem = {**problem, "features": problem["features"].detach().clone().requires_grad_()}
    here = on(device, problem)
    here["features"] = here["features"].detach().requires_grad_()
    actual = paco.vmf_logits(**here)
    logits, slopes = solve(problem)
    dtype, temperature = problem["features"].dtype, problem["temperature"]
    assert actual.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    z, mu, kappa = (
        problem[name].detach().double() for name in ("features", "mean_direction", "concentration")
    )
    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    reach = z.norm(dim=1, keepdim=True) / temperature
    allowed = tolerance * (reach / 10).clamp(min=1)
    if dtype != torch.float64 and z.size(1) > 32:
        allowed = allowed + 1e-7 * reach * kappa * slopes * temperature
    errors = (actual.detach().cpu().double() - logits).abs()
    assert (errors <= allowed).all(), f"off by {errors.max():g}"

    # The gradient is a sum over the classes, whose terms are at most upstream / T long.
    upstream = torch.randn_like(actual)
    (gradient,) = torch.autograd.grad(actual, here["features"], upstream)
    assert gradient.dtype == dtype
    weights = upstream.cpu().double() * slopes
    expected = (weights * kappa) @ mu + weights.sum(1, keepdim=True) * z / temperature
    # But for what cancels where a feature is opposite to a direction.
    terms = weights.abs() * (kappa + reach)
    longest = terms.sum(1).max() + upstream.abs().sum(1).max() / temperature
    share = max(tolerance / 10, torch.finfo(dtype).eps)
    error = (gradient.cpu().double() - expected).abs().max()
    assert error <= share * longest, f"the gradient is off by {error:g} where {longest:g} is usual"


def largest_error(dim: int, dtype: torch.dtype, device: torch.device) -> float:
    """Of logits with |z| / T up to 10, over concentrations from 0 to 1e5."""
    kappa = torch.cat([torch.zeros(1), 10 ** torch.linspace(-3, 5, 41)]).double()
    mu = unit_rows(len(kappa), dim)
    beside = torch.nn.functional.normalize(mu + 0.3 * unit_rows(len(kappa), dim), dim=1)
    z = torch.cat([mu, -mu, beside, unit_rows(20, dim)])
    z = z * torch.empty(len(z), 1, dtype=torch.float64).uniform_(0.1, 1)
    problem = {
        "features": z.to(dtype),
        "mean_direction": mu.to(dtype),
        "concentration": kappa.to(dtype),
        "temperature": 0.1,
    }
    actual = paco.vmf_logits(**on(device, problem)).cpu().double()
    return (actual - solve(problem)[0]).abs().max().item()


def solve(problem: Problem) -> tuple[Tensor, Tensor]:
    """Logits [A, C], and what kappa_c mu_c + z_i / T is multiplied by in their gradients.

    The numbers of the problem are taken as they are, whatever their dtype, with rows of
    ``mean_direction`` of length 1 or 0 up to its rounding.
    """
    features = problem["features"].double().tolist()
    directions = problem["mean_direction"].double().tolist()
    concentrations = problem["concentration"].double().tolist()
    logits = torch.empty(len(features), len(directions), dtype=torch.float64)
    slopes = torch.empty_like(logits)
    with mpmath.workdps(DIGITS):
        order = mpmath.mpf(len(features[0])) / 2  # nu + 1
        temperature = mpmath.mpf(problem["temperature"])
        for c, (mu, kappa) in enumerate(zip(directions, concentrations, strict=True)):
            kappa = mpmath.mpf(kappa) if any(mu) else mpmath.mpf(0)
            of_class = mpmath.log(series(order, kappa**2))
            for i, z in enumerate(features):
                product = mpmath.fdot(z, mu)
                square = kappa**2 + mpmath.fdot(z, z) / temperature**2
                square = max(square + 2 * kappa * product / temperature, mpmath.mpf(0))
                value = series(order, square)
                logits[i, c] = float(mpmath.log(value) - of_class)
                slopes[i, c] = float(series(order + 1, square) / value / (2 * order) / temperature)
    return logits, slopes


def series(order: mpmath.mpf, square: mpmath.mpf) -> mpmath.mpf:
    """0F1(order; x^2 / 4) = Gamma(order) (2 / x)^(order - 1) I_{order - 1}(x) (DLMF 10.39.9)."""
    return mpmath.hyp0f1(order, square / 4, maxterms=10**6)
