"""Draws what many, medium and few-shot classes are taken for.

    python tools/analysis/group_confusion.py CONFIG PREDICTIONS.pkl...

A row is a group of true classes: how many of its images are right, and for the others, to which
group the class belongs that they are taken for. Each class counts the same, so "right" is the
group's accuracy as LongTailMetric gives it. The predictions are those of tools/test.py --out.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from paco import longtail
from paco.tools import command_line
from paco.tools.analysis import figure as fig
from paco.tools.analysis.predictions import Classes, Predictions, load_classes, load_runs

GROUPS = ("many", "medium", "few")
COLUMNS = ("right", "wrong:\nmany", "wrong:\nmedium", "wrong:\nfew")


def group_confusion(run: Predictions, class_counts: Tensor) -> Tensor:
    """Percentages [3, 4]: of each of GROUPS, each of COLUMNS; NaN for a group without an image."""
    groups = longtail.class_groups(class_counts)
    group_of_class = torch.stack([groups[name] for name in GROUPS]).long().argmax(dim=0)
    column = 1 + group_of_class[run.classes]
    column[run.classes == run.labels] = 0
    shares = torch.zeros(len(class_counts), len(COLUMNS), dtype=torch.float64)
    shares.index_put_((run.labels, column), torch.ones(1).double(), accumulate=True)
    shares /= shares.sum(dim=1, keepdim=True)
    return 100 * torch.stack([shares[groups[name]].nanmean(dim=0) for name in GROUPS])


def draw(classes: Classes, runs: dict[str, Predictions]) -> Figure:
    """One matrix a run, side by side."""
    figure = fig.new(0.9 + 3.2 * len(runs), 3.3)
    axes = figure.subplots(1, len(runs), squeeze=False, sharey=True)[0]
    sizes = {name: int(m.sum()) for name, m in longtail.class_groups(classes.counts).items()}
    for ax, (name, run) in zip(axes, runs.items(), strict=True):
        values = group_confusion(run, classes.counts)
        image = ax.imshow(values.numpy(), cmap="Blues", vmin=0, vmax=100, aspect="auto")
        for (row, column), value in zip(
            torch.cartesian_prod(torch.arange(3), torch.arange(4)).tolist(),
            values.flatten().tolist(),
            strict=True,
        ):
            text = "no image" if value != value else f"{value:.1f}"
            ax.text(column, row, text, ha="center", va="center", color="w" if value > 60 else "k")
        ax.set_title(name)
        ax.set_xticks(range(4), COLUMNS)
        ax.set_yticks(
            range(3),
            [f"{name}\n({n} {'class' if n == 1 else 'classes'})" for name, n in sizes.items()],
        )
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
    figure.suptitle("What the images of each group are taken for", fontsize=10)
    axes[0].set_ylabel("group of the true class")
    figure.supxlabel("prediction: right, or wrong and of which group", fontsize=9)
    figure.colorbar(image, ax=list(axes), label="% of the images of a class", shrink=0.9)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command_line.add_config_arguments(parser, "config file, for the training set's class sizes")
    parser.add_argument("predictions", type=Path, nargs="+", help="predictions of a run")
    fig.add_out_argument(parser, "group_confusion.png")
    args = parser.parse_args(arguments)
    try:
        classes = load_classes(command_line.load_config(args))
        names = fig.names_of(args.predictions)
        runs = dict(zip(names, load_runs(args.predictions, classes), strict=True))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    fig.save(draw(classes, runs), args.out)


if __name__ == "__main__":
    main()
