"""The benchmark of several processes measures what its formula says."""

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


def test_a_process_receives_what_the_formula_says() -> None:
    import distributed

    sizes = distributed.Sizes(anchors=64, dim=96, width=80, classes=11, queue=50)
    results = distributed.measure(sizes, processes=2, repetitions=3)  # all forms have one loss
    for form, result in results.items():
        formula = distributed.cost(form, sizes, 2, scatter=2).received
        assert formula <= result["received"] < 1.5 * formula + 20_000, form


def test_shares_hold_a_share() -> None:
    import distributed

    sizes = distributed.Sizes(64, 128, 512, 10_000, 10_000)
    whole = distributed.cost("usual", sizes, 8).held
    shared = distributed.cost("shared queue and classes", sizes, 8).held
    assert shared == pytest.approx(whole / 8, rel=1e-3)
