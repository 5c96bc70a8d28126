"""Draws test features in two dimensions, the class centers among them.

    python tools/analysis/features.py CONFIG CHECKPOINT [--method tsne|pca] [--num-classes 10]

The classes are chosen evenly from the largest to the smallest. What is drawn are directions: the
mean is taken off features and off centers, which leaves every prediction as it is, and all are
scaled to unit length.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paco.tools import command_line  # before the toolbox: it mends its imports

# isort: split
import torch
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import Tensor
from torch.nn import functional as F

from paco.mmpretrain import ClassCentersHead, load_trained_model
from paco.tools.analysis import figure as fig
from paco.tools.analysis.predictions import Classes, load_classes


def choose_classes(counts: Tensor, number: int) -> Tensor:
    """Classes evenly spaced from the largest to the smallest."""
    order = counts.argsort(descending=True, stable=True)
    return order[torch.linspace(0, len(order) - 1, min(number, len(order))).round().long()]


@torch.no_grad()
def extract(cfg: Config, checkpoint: Path, classes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pooled test features [N, F] of these classes, their labels [N], and the centers [C, F]."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_trained_model(cfg, checkpoint, device)
    if not isinstance(model.head, ClassCentersHead):
        raise ValueError(
            f"{cfg.filename} must have a ClassCentersHead or a PaCoHead, got "
            f"{type(model.head).__name__}"
        )
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    wanted = set(classes.tolist())
    labels = [dataset.get_data_info(i)["gt_label"] for i in range(len(dataset))]
    dataset.get_subset_([i for i, label in enumerate(labels) if label in wanted])
    features, labels = [], []
    for batch in Runner.build_dataloader({**cfg.test_dataloader, "dataset": dataset}):
        data = model.data_preprocessor(batch)
        features.append(model.head.pre_logits(model.extract_feat(data["inputs"])).cpu())
        labels += [sample.gt_label.cpu() for sample in data["data_samples"]]
    return torch.cat(features), torch.cat(labels), model.head.centers.weight.detach().cpu()


def embed(features: Tensor, centers: Tensor, method: str) -> tuple[np.ndarray, np.ndarray, list]:
    """Features [N, 2] and centers [C, 2] in the plane, and the names of its two axes."""
    features, centers = (F.normalize(x - x.mean(dim=0)).numpy() for x in (features, centers))
    if method == "pca":
        pca = PCA(2, random_state=0).fit(features)
        names = [
            f"principal component {i + 1} ({100 * share:.0f} % of the variance)"
            for i, share in enumerate(pca.explained_variance_ratio_)
        ]
        return pca.transform(features), pca.transform(centers), names
    rows = np.concatenate([features, centers])
    tsne = TSNE(perplexity=min(30, (len(rows) - 1) / 3), init="pca", random_state=0)
    points = tsne.fit_transform(rows)
    return points[: len(features)], points[len(features) :], ["", ""]


def draw(
    classes: Classes, chosen: Tensor, features: Tensor, labels: Tensor, centers: Tensor, method: str
) -> Figure:
    """The features of the chosen classes as points, their centers as stars with a name."""
    points, center_points, axes_names = embed(features, centers[chosen], method)
    figure = fig.new(6.4, 5.2)
    ax = figure.subplots()
    counts = classes.counts.clamp(min=1).float()
    colours = dict(cmap="viridis", norm=LogNorm(counts[chosen].min(), counts[chosen].max()))
    ax.scatter(*points.T, c=counts[labels], s=9, alpha=0.6, linewidths=0, **colours)
    stars = ax.scatter(
        *center_points.T,
        c=counts[chosen],
        s=160,
        marker="*",
        edgecolors="k",
        linewidths=0.8,
        **colours,
    )
    # A legend without the colour of a class.
    ax.scatter([], [], c=fig.GREY, s=9, label="image")
    ax.scatter([], [], c="w", s=160, marker="*", edgecolors="k", linewidths=0.8, label="center")
    distance = np.linalg.norm(center_points[:, None] - center_points, axis=2)
    np.fill_diagonal(distance, np.inf)
    names = fig.drawable({c: classes.names[c] for c in chosen.tolist()})
    for c, point, nearest in zip(chosen.tolist(), center_points, distance.argmin(1), strict=True):
        # The name points away from the nearest center, whose name points the other way.
        right, above = point >= center_points[nearest]
        ax.annotate(
            names[c],
            point,
            xytext=(7 if right else -7, 5 if above else -5),
            textcoords="offset points",
            ha="left" if right else "right",
            va="bottom" if above else "top",
            fontweight="bold",
            bbox=dict(boxstyle="round,pad=0.15", fc="w", ec="none", alpha=0.7),
        )
    ax.set_title(f"Test features and class centers, {dict(pca='PCA', tsne='t-SNE')[method]}")
    ax.set(xlabel=axes_names[0], ylabel=axes_names[1])
    if method == "tsne":
        ax.set(xticks=[], yticks=[])  # its axes have no unit
    ax.margins(0.12)  # for the names
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.colorbar(stars, ax=ax, label="training images of the class", format="%g")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command_line.add_config_arguments(parser)
    parser.add_argument("checkpoint", type=Path, help="checkpoint file")
    parser.add_argument("--method", choices=["tsne", "pca"], default="tsne", help="default: tsne")
    parser.add_argument("--num-classes", type=int, default=10, help="how many to draw (10)")
    fig.add_out_argument(parser, "features.png")
    args = parser.parse_args(arguments)
    try:
        cfg = command_line.load_config(args)
        classes = load_classes(cfg)
        chosen = choose_classes(classes.counts, args.num_classes)
        extracted = extract(cfg, args.checkpoint, chosen)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    fig.save(draw(classes, chosen, *extracted, args.method), args.out)


if __name__ == "__main__":
    main()
