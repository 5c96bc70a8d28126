"""Compares two runs on the same test images, with paired bootstrap intervals.

    python tools/analysis/compare_runs.py CONFIG PREDICTIONS.pkl BASELINE.pkl

Prints each accuracy of both, the difference and its 95 % interval, and draws the differences. The
images are resampled, 10,000 times and class by class, both runs together; what another training
seed would have changed is not in the interval. The predictions are those of tools/test.py --out.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from paco import metrics
from paco.metrics import Difference
from paco.tools import command_line
from paco.tools.analysis import figure as fig
from paco.tools.analysis.predictions import Classes, Predictions, load_classes, load_runs

NAMES = {"top1": "top-1", "all": "mean", "many": "many", "medium": "medium", "few": "few"}


def accuracies(run: Predictions, classes: Classes) -> dict[str, float]:
    """A run's accuracies, under the names of :func:`paco.metrics.paired_difference`."""
    top1 = (run.classes == run.labels).double().mean().item()
    return {"top1": top1, **metrics.grouped_accuracy(run.classes, run.labels, classes.counts)}


def table(
    names: Sequence[str], runs: Sequence[Predictions], classes: Classes, differences: dict
) -> str:
    """The printed table: accuracies in percent, differences in percentage points."""
    first, baseline = (accuracies(run, classes) for run in runs)
    width = max(7, *map(len, names))
    lines = [f"{'':8}{names[0]:>{width}}  {names[1]:>{width}}  difference  95 % interval"]
    for key, (value, low, high) in differences.items():
        lines.append(
            f"{NAMES[key]:8}{100 * first[key]:>{width}.1f}  {100 * baseline[key]:>{width}.1f}  "
            f"{100 * value:>+10.1f}  [{100 * low:+.1f}, {100 * high:+.1f}]"
        )
    return "\n".join(lines)


def draw(names: Sequence[str], differences: dict[str, Difference]) -> Figure:
    """The differences and their intervals, one below the other."""
    shown = {key: d for key, d in differences.items() if not math.isnan(d.value)}
    figure = fig.new(6, 0.9 + 0.42 * len(shown))
    ax = figure.subplots()
    ax.axvline(0, color=fig.GREY, linewidth=0.8)
    for row, (value, low, high) in enumerate(shown.values()):
        ax.plot([100 * low, 100 * high], [row, row], color=fig.COLOURS[0], linewidth=2)
        ax.plot(100 * value, row, fig.MARKERS[0], color=fig.COLOURS[0], markersize=7)
        ax.annotate(
            f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}"),
            (100 * value, row),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            bbox=dict(boxstyle="square,pad=0.1", fc="w", ec="none"),
        )
    ax.set_yticks(range(len(shown)), [NAMES[key] for key in shown])
    ax.set_ylim(len(shown) - 0.5, -0.7)
    ax.set_xlabel("difference in accuracy, percentage points, and its 95 % interval")
    ax.set_title(f"{names[0]} over {names[1]}")
    ax.grid(axis="x", alpha=0.3)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command_line.add_config_arguments(parser, "config file, for the training set's class sizes")
    parser.add_argument("predictions", type=Path, help="the run's predictions")
    parser.add_argument("baseline", type=Path, help="predictions of the run to compare with")
    parser.add_argument("--seed", type=int, default=0, help="seed of the resampling (default: 0)")
    fig.add_out_argument(parser, "compare_runs.png")
    args = parser.parse_args(arguments)
    try:
        paths = [args.predictions, args.baseline]
        classes = load_classes(command_line.load_config(args))
        runs = load_runs(paths, classes)
        names = fig.names_of(paths)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    differences = metrics.paired_difference(
        runs[0].classes, runs[1].classes, runs[0].labels, classes.counts, seed=args.seed
    )
    print(table(names, runs, classes, differences))
    fig.save(draw(names, differences), args.out)


if __name__ == "__main__":
    main()
