"""Random problems for the operators at the ends of what they take.

    python tests/ops/fuzz.py                      # a minute, of a fresh seed
    python tests/ops/fuzz.py --seed 7 --seconds 600
    python tests/ops/fuzz.py --seed 7 --case 42   # one problem again
    python tests/ops/fuzz.py --operator vmf_logits --seed 7 --case 42
    python tests/ops/fuzz.py --table              # the errors that docs/numerics.md shows

paco_loss is compared with its definition in float64: unlike its other random problems these have
rows of any norm, temperatures and weights of any magnitude, long queues, many classes, and rows
that are equal. A result has to be as near to the definition as that of plain torch. vmf_logits is
compared with mpmath: any D, concentration, length of a feature and temperature, and features
opposite to directions.
"""

import argparse
import random
import re
import sys
import time
from pathlib import Path

import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.problems import Problem, assert_as_good_as_torch, measure, soft_targets, unit_rows
from helpers.von_mises_fisher import assert_solved, largest_error

DTYPES = [torch.float32, torch.float32, torch.float16, torch.bfloat16, torch.float64]


def seeded(seed: int, number: int) -> random.Random:
    """Draws the problem of a number: the same on every run."""
    rng = random.Random(f"{seed} {number}")
    torch.manual_seed(rng.getrandbits(63))
    return rng


def draw(rng: random.Random) -> Problem:
    dtype = rng.choice(DTYPES)
    kind = rng.choices(["long queue", "many classes", "plain"], [1, 3, 60])[0]
    rows, dim = magnitude(rng, 1, 64), magnitude(rng, 1, 2048 if rng.random() < 0.2 else 128)
    queue, classes = rng.choice([0, magnitude(rng, 1, 3000)]), magnitude(rng, 1, 200)
    if kind == "long queue":
        rows, dim, queue, classes = (
            rng.randint(1, 8),
            rng.randint(1, 32),
            300_000,
            rng.randint(1, 9),
        )
    elif kind == "many classes":
        rows, classes = rng.randint(1, 8), 50_000
    anchors = rng.choice([rows, rng.randint(1, rows)])
    norm = rng.choice([1.0, 10 ** rng.uniform(-6, 4)])
    spread = rng.choice([0, 0, rng.uniform(0, 3)])

    def draw_rows(count: int) -> torch.Tensor:
        z = unit_rows(count, dim) * norm * 10 ** (spread * (torch.rand(count, 1) - 1)).double()
        return z.to(dtype)

    features, bank = draw_rows(rows), draw_rows(queue)
    if rng.random() < 0.3:  # rows that are equal
        features = features[torch.randint(min(rows, 3), (rows,))]
        bank = features[torch.randint(rows, (queue,))]
    problem: Problem = {
        "features": strided(features) if rng.random() < 0.2 else features,
        "labels": torch.randint(classes, (rows,)),
        "temperature": rng.choice([10 ** rng.uniform(-2.5, 1), 10 ** rng.uniform(-9, 9)]),
    }
    if queue:
        problem["queue"] = strided(bank) if rng.random() < 0.2 else bank
        problem["queue_labels"] = torch.randint(classes, (queue,))
        if rng.random() < 0.5:
            problem["num_valid"] = torch.tensor(rng.randint(0, queue))
    if rng.random() < 0.3:  # BCL, up to the logits beside which float64 knows a weight's logarithm
        problem["prototypes"] = draw_rows(classes)
        problem["temperature"] = max(problem["temperature"], 1e-12 * norm**2)
        return problem
    problem.update(num_anchors=anchors, alpha=weight(rng), beta=weight(rng), gamma=weight(rng))
    if rng.random() < 0.5:
        problem["base_temperature"] = 10 ** rng.uniform(-2, 2)
    if kind == "many classes" or rng.random() < 0.6:
        size = rng.choice([1.0, 3.0, 10 ** rng.uniform(-3, 4)])
        problem["center_logits"] = (size * torch.randn(anchors, classes)).to(dtype)
        if classes > 1:
            problem["label_smoothing"] = rng.choice([0.0, 0.1, rng.random()])
        if rng.random() < 0.3:
            problem["label_smoothing"] = 0.0
            problem["soft_targets"] = soft_targets(rng, anchors, classes, dtype)
        problem[rng.choice(["alpha", "gamma", "none"])] = rng.choice([0.0, 1.0])
        problem.pop("none", None)
    if anchors < len(problem["features"]) and rng.random() < 0.5:
        problem["detach_keys"] = True
    if rng.random() < 0.3:
        problem["anchor_weight"] = 10 ** torch.empty(anchors).uniform_(-4, 4)
    return problem


def magnitude(rng: random.Random, low: int, high: int) -> int:
    """An integer, small ones as likely as large ones."""
    return min(high, int(low * (high / low + 1) ** rng.random()))


def weight(rng: random.Random) -> float:
    return rng.choice(
        [1.0, rng.uniform(0.01, 2), 10 ** rng.uniform(-9, 3), 10 ** rng.uniform(-48, 40)]
    )


def strided(x: torch.Tensor) -> torch.Tensor:
    """The same values between others."""
    buffer = torch.full((x.size(0), x.size(1) + 3), float("nan"), dtype=x.dtype)
    buffer[:, 1:-2] = x
    return buffer[:, 1:-2]


def check_loss(seed: int, number: int, device: torch.device) -> None:
    problem = draw(seeded(seed, number))
    try:
        assert_as_good_as_torch(problem, device)
    except ValueError as error:  # weights that float32 cannot compute with
        beyond = [problem.get(name, 0) for name in ("alpha", "beta", "gamma")]
        assert re.search("must be 0 or between", str(error)), error
        assert not all(x == 0 or 1.2e-38 < x < 1e30 for x in beyond), error
    except AssertionError as error:
        shown = {
            name: tuple(value.shape) if isinstance(value, torch.Tensor) else value
            for name, value in problem.items()
        }
        raise AssertionError(
            f"{error}\n{problem['features'].dtype}, {shown}\n"
            f"once more: python tests/ops/fuzz.py --seed {seed} --case {number}"
        ) from error


def check_vmf(seed: int, number: int, device: torch.device) -> None:
    rng = seeded(seed, number)
    dtype = rng.choice(DTYPES)
    statistics = torch.float64 if dtype == torch.float64 else torch.float32
    anchors, classes, dim = magnitude(rng, 1, 9), magnitude(rng, 1, 9), magnitude(rng, 2, 2048)
    kappa = 10 ** torch.empty(classes, dtype=torch.float64).uniform_(-6, 5)
    kappa[torch.rand(classes) < 0.1] = 0
    mu = unit_rows(classes, dim)
    temperature = 10 ** rng.uniform(-2, 2)
    norm = 10 ** torch.empty(anchors, 1, dtype=torch.float64).uniform_(-2, 1)
    of = torch.randint(classes, (anchors,))
    if rng.random() < 0.3:  # opposite, and as strong
        norm = kappa[of, None].clamp(max=1e3) * temperature
    pull = 10 ** rng.uniform(-2, 9)
    z = torch.nn.functional.normalize(unit_rows(anchors, dim) + rng.choice([-pull, pull]) * mu[of])
    mu[torch.rand(classes) < 0.1] = 0
    problem = {
        "features": (norm * z).to(dtype),
        "mean_direction": mu.to(statistics),
        "concentration": kappa.to(statistics),
        "temperature": temperature,
    }
    if not problem["features"].isfinite().all():
        return
    try:
        assert_solved(problem, device)
    except AssertionError as error:
        error.add_note(f"{dtype}, D {dim}, T {temperature}, kappa {kappa.tolist()}")
        error.add_note(
            f"once more: python tests/ops/fuzz.py --operator vmf_logits --seed {seed} "
            f"--case {number}"
        )
        raise


CHECKS = {"paco_loss": check_loss, "vmf_logits": check_vmf}


# The table of docs/numerics.md: one thing at a time away from what is usual.
TABLE: dict[str, list[float]] = {
    "temperature": [0.003, 0.01, 0.07, 1, 10],
    "norm": [1e-6, 1e-3, 100, 1e4],
    "dim": [1, 16, 512, 2048],
    "queue": [1, 65_536, 300_000],
    "classes": [1, 1000, 50_000],
}


def print_table(device: torch.device) -> None:
    """The largest error of each gradient, and in brackets that of plain torch."""
    torch.manual_seed(0)
    for name, values in {"": [0], **TABLE}.items():
        for value in values:
            usual = dict(temperature=0.07, norm=1.0, dim=128, queue=2048, classes=10)
            cells = [measure_usual({**usual, name: value}, dtype, device) for dtype in DTYPES[1:4]]
            print(f"| {name} {value:g} | " + " | ".join(cells) + " |", flush=True)
    print("vmf_logits, by the dimensions: float32 and float64")
    for dim in (2, 3, 8, 32, 33, 64, 128, 512, 2048):
        errors = [largest_error(dim, dtype, device) for dtype in (torch.float32, torch.float64)]
        print(f"| {dim} | " + " | ".join(f"{error:.0e}" for error in errors) + " |", flush=True)


def measure_usual(sizes: dict[str, float], dtype: torch.dtype, device: torch.device) -> str:
    rows = 8 if sizes["queue"] > 2048 or sizes["classes"] > 1000 else 32
    dim, queue, classes = (int(sizes[name]) for name in ("dim", "queue", "classes"))
    problem = dict(
        features=(sizes["norm"] * unit_rows(rows, dim)).to(dtype),
        labels=torch.randint(classes, (rows,)),
        center_logits=torch.randn(rows, classes).to(dtype),
        queue=(sizes["norm"] * unit_rows(queue, dim)).to(dtype),
        queue_labels=torch.randint(classes, (queue,)),
        alpha=0.05,
        temperature=sizes["temperature"],
        num_anchors=rows,
    )
    if not problem["features"].isfinite().all():
        return "-"
    findings = [finding for name, finding in measure(problem, device).items() if name != "loss"]
    error, plain = (
        max(getattr(f, kind) / f.scale for f in findings) for kind in ("error", "plain")
    )
    return f"{error:.0e} ({plain:.0e})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--operator", choices=CHECKS, help="one alone; all in turns by default")
    parser.add_argument("--case", type=int, help="this problem alone")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--table", action="store_true", help="print the table of the docs instead")
    options = parser.parse_args()
    if options.table:
        return print_table(options.device)
    print(f"seed {options.seed}", flush=True)
    if options.case is not None:
        return CHECKS[options.operator or "paco_loss"](options.seed, options.case, options.device)
    end = time.monotonic() + options.seconds
    number = 0
    while time.monotonic() < end:
        for name, check in CHECKS.items():
            if options.operator in (None, name):
                check(options.seed, number, options.device)
        number += 1
    print(f"{number} problems")


if __name__ == "__main__":
    main()
