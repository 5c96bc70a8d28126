"""Draws each class's accuracy, the largest class first, against a baseline.

    python tools/analysis/per_class_accuracy.py CONFIG PREDICTIONS.pkl [--baseline PREDICTIONS.pkl]

The predictions are those of tools/test.py --out.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from paco import longtail, metrics
from paco.tools import command_line
from paco.tools.analysis import figure as fig
from paco.tools.analysis.predictions import Classes, Predictions, load_classes, load_runs

NAMED_CLASSES = 30  # at most; more names would overlap


def running_mean(values: Tensor, window: int) -> Tensor:
    """The mean of the values at most window // 2 places away, NaN left out."""
    half = window // 2
    starts = (max(i - half, 0) for i in range(len(values)))
    means = [values[start : i + half + 1].nanmean() for i, start in enumerate(starts)]
    return values.new_tensor(means)


def draw(classes: Classes, runs: dict[str, Predictions]) -> Figure:
    """Accuracy of one or two runs above, training images below."""
    counts, order = classes.counts.sort(descending=True, stable=True)
    rank = range(len(order))
    few_classes = len(order) <= NAMED_CLASSES

    figure = fig.new(7.5, 4.5)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    for i, (name, run) in enumerate(runs.items()):
        accuracy = metrics.per_class_accuracy(run.classes, run.labels, len(order))[order]
        mean = 100 * accuracy.nanmean().item()
        label = f"{name} (mean {mean:.1f} %)"
        style = dict(color=fig.COLOURS[i], label=label)
        if few_classes:
            top.plot(rank, 100 * accuracy, fig.MARKERS[i], linestyle=fig.DASHES[i], **style)
        else:
            top.plot(rank, 100 * accuracy, ".", color=fig.COLOURS[i], alpha=0.25, markersize=3)
            smooth = running_mean(100 * accuracy, len(order) // 20)
            top.plot(rank, smooth, linestyle=fig.DASHES[i], linewidth=2, **style)
    top.set_ylabel("accuracy, %")
    top.set_ylim(-3, 103)
    top.grid(axis="y", alpha=0.3)
    title = "Accuracy by class, the largest class first"
    if not few_classes:
        title += f" (lines: mean of {len(order) // 20} neighbours)"
    top.set_title(title, pad=18)
    # Above the axes, where no point can lie.
    figure.legend(*top.get_legend_handles_labels(), loc="outside upper center", ncols=2)

    edges = [r - 0.5 for r in range(len(order) + 1)]
    bottom.stairs(counts, edges, baseline=0.5, fill=True, color=fig.GREY)
    bottom.set_yscale("log")
    bottom.set_ylim(bottom=0.9)
    bottom.yaxis.set_major_formatter("{x:g}")
    bottom.set_ylabel("training\nimages")
    start = 0
    for group, members in longtail.class_groups(counts).items():
        size = int(members.sum())
        if size == 0:
            continue
        for ax in (top, bottom):
            if start:
                ax.axvline(start - 0.5, color=fig.GREY, linewidth=0.8, linestyle=":")
        top.annotate(
            group,
            (start + size / 2 - 0.5, 1.02),
            xycoords=("data", "axes fraction"),
            ha="center",
            color=fig.GREY,
        )
        start += size
    bottom.set_xlim(-0.6, len(order) - 0.4)
    if few_classes:
        names = [classes.names[c] for c in order.tolist()]
        long = max(map(len, names)) > 3
        bottom.set_xticks(rank, names, rotation=90 if long else 0)
        bottom.set_xlabel("class")
    else:
        bottom.set_xlabel("rank of the class")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command_line.add_config_arguments(parser, "config file, for the training set's class sizes")
    parser.add_argument("predictions", type=Path, help="the run's predictions")
    parser.add_argument("--baseline", type=Path, help="predictions of a run to compare with")
    fig.add_out_argument(parser, "per_class_accuracy.png")
    args = parser.parse_args(arguments)
    try:
        paths = [args.predictions, *([args.baseline] if args.baseline else [])]
        classes = load_classes(command_line.load_config(args))
        runs = dict(zip(fig.names_of(paths), load_runs(paths, classes), strict=True))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    fig.save(draw(classes, runs), args.out)


if __name__ == "__main__":
    main()
