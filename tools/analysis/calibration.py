"""Draws calibration diagrams: python tools/analysis/calibration.py PREDICTIONS.pkl... [--out PNG].

The predictions are those of tools/test.py --out. Above, accuracy against confidence in 15 bins,
larger marks for more predictions: below the diagonal a run is too sure of itself. Underneath, how
many predictions have that confidence. ECE is the expected calibration error.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from paco import metrics
from paco.tools.analysis import figure as fig
from paco.tools.analysis.predictions import Predictions, load_predictions


def draw(runs: dict[str, Predictions]) -> Figure:
    """The diagram of one or several runs."""
    figure = fig.new(4.8, 5.4)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    top.plot([0, 100], [0, 100], color=fig.GREY, linewidth=0.8, label="calibrated")
    for i, (name, run) in enumerate(runs.items()):
        bins = metrics.calibration_bins(
            run.probabilities.max(dim=1).values, run.classes == run.labels
        )
        filled = bins.counts > 0
        points = 100 * bins.confidence[filled], 100 * bins.accuracy[filled]
        share = 100 * bins.counts / bins.counts.sum()
        top.plot(
            *points,
            linestyle=fig.DASHES[i],
            color=fig.COLOURS[i],
            label=f"{name} (ECE {100 * bins.expected_error():.1f} %)",
        )
        top.scatter(*points, s=8 + 1.2 * share[filled], marker=fig.MARKERS[i], color=fig.COLOURS[i])
        edges = [100 * k / len(bins.counts) for k in range(len(bins.counts) + 1)]
        bottom.stairs(
            share,
            edges,
            color=fig.COLOURS[i],
            linestyle=fig.DASHES[i],
            linewidth=1.4,
        )
    top.set_title("Calibration, 15 bins")
    top.set_ylabel("accuracy, %")
    top.set_xlim(0, 101)
    top.set_ylim(0, 103)
    top.grid(alpha=0.3)
    # Above the axes, where no point can lie.
    figure.legend(*top.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    bottom.set_xlabel("confidence, %")
    bottom.set_ylabel("predictions, %")
    bottom.set_ylim(bottom=0)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("predictions", type=Path, nargs="+", help="predictions of a run")
    fig.add_out_argument(parser, "calibration.png")
    args = parser.parse_args(arguments)
    try:
        names = fig.names_of(args.predictions)
        figure = draw(dict(zip(names, map(load_predictions, args.predictions), strict=True)))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    fig.save(figure, args.out)


if __name__ == "__main__":
    main()
