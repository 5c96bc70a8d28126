"""Draws training curves: python tools/analysis/training_curves.py WORK_DIR... [--out CURVES.png].

One panel a quantity, one line a run. A run is a work folder of tools/train.py; the parts of a
resumed one are joined.
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from paco.tools.analysis import figure as fig

ACCURACIES = {
    "long_tail/mean": "all classes",
    "long_tail/many": "many-shot classes",
    "long_tail/medium": "medium-shot classes",
    "long_tail/few": "few-shot classes",
}
KEYS = {"loss": "training loss", "lr": "learning rate", **ACCURACIES}
COLUMNS = 2


def read_scalars(work_dir: Path) -> tuple[dict[str, list[tuple[float, float]]], str]:
    """The (x, value) of every quantity that a run logged, and what x counts."""
    files = sorted(work_dir.glob("*/vis_data/scalars.json"))
    if not files:
        raise ValueError(f"{work_dir} has no */vis_data/scalars.json; is it a run's work folder?")
    logs = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
    training = [record for log in logs for record in log if "loss" in record]
    by_epoch = any("epoch" in record for record in training)
    # The toolbox counts training steps, and validations by the epoch.
    steps_per_epoch = count_steps_per_epoch([r for r in training if "epoch" in r])

    series: dict[str, list[tuple[float, float]]] = {}
    for log in logs:
        for i, record in enumerate(log):
            x = record["step"] / (steps_per_epoch if "epoch" in record else 1)
            if i == 0:
                # A resumed run writes the end of the interrupted one again.
                series = {key: [p for p in points if p[0] < x] for key, points in series.items()}
            for key, value in record.items():
                series.setdefault(key, []).append((x, value))
    return series, "epoch" if by_epoch else "step"


def count_steps_per_epoch(records: Sequence[dict]) -> float:
    """The steps of an epoch; its last ones are not logged, but its first record is of one place."""
    first: dict[int, int] = {}
    for record in records:
        epoch, step = record["epoch"], record["iter"]
        first[epoch] = min(step, first.get(epoch, step))
    if len(first) < 2:
        return max((record["iter"] / record["epoch"] for record in records), default=1)
    a, b = min(first), max(first)
    return (first[b] - first[a]) / (b - a)


def draw(work_dirs: Sequence[Path], keys: Sequence[str] | None = None) -> Figure:
    """A panel for each key, or for those of KEYS that a run has."""
    names = fig.names_of(work_dirs)
    runs = [read_scalars(work_dir) for work_dir in work_dirs]
    units = {unit for _, unit in runs}
    if len(units) > 1:
        raise ValueError("some runs count epochs and some steps; draw them apart")
    has_values = {
        key
        for series, _ in runs
        for key, points in series.items()
        if not all(math.isnan(y) for _, y in points)
    }
    unknown = set(keys or ()) - has_values
    if unknown:
        raise ValueError(f"no run has {sorted(unknown)}; there are {sorted(has_values)}")
    keys = keys or [key for key in KEYS if key in has_values]

    rows = math.ceil(len(keys) / COLUMNS)
    figure = fig.new(7.5, 0.5 + 2.1 * rows)
    axes = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
    for ax, key in zip(axes, keys, strict=False):
        for i, (name, (series, _)) in enumerate(zip(names, runs, strict=True)):
            if key in series:
                ax.plot(
                    *zip(*series[key], strict=True), fig.DASHES[i], color=fig.COLOURS[i], label=name
                )
        ax.set_title(KEYS.get(key, key))
        if key in ACCURACIES:
            ax.set_ylabel("accuracy, %")
            ax.set_ylim(-3, 103)  # one scale, so that the groups can be compared
        elif key.startswith("long_tail/"):
            ax.set_ylabel("%")
        ax.grid(alpha=0.3)
    for ax in axes[max(len(keys) - COLUMNS, 0) : len(keys)]:
        ax.set_xlabel(*units)
    for ax in axes[len(keys) :]:
        ax.remove()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work_dirs", nargs="+", type=Path, help="work folder of a run")
    parser.add_argument(
        "--keys", nargs="+", help=f"what to draw instead of {', '.join(KEYS)}, by its log name"
    )
    fig.add_out_argument(parser, "training_curves.png")
    args = parser.parse_args(arguments)
    try:
        figure = draw(args.work_dirs, args.keys)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    fig.save(figure, args.out)


if __name__ == "__main__":
    main()
