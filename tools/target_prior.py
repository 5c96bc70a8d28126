"""The option --target-prior: how often each class occurs where a model is used."""

import json
import math
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import torch
from mmpretrain.models import ImageClassifier

from paco.mmpretrain import ClassCentersHead
from paco.mmpretrain.naming import named, shortened

__all__ = ["add_target_prior_argument", "set_target_prior"]


def add_target_prior_argument(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--target-prior",
        type=Path,
        metavar="FILE",
        help="a JSON file of how often each class occurs where the images are from: "
        '{"name": number, ...} or [number, ...]',
    )


def set_target_prior(
    model: ImageClassifier, path: Path, classes: Sequence[str] | None
) -> list[float]:
    """Has a model predict for the prior of a file.

    Args:
        model: The classifier.
        path: The file.
        classes: The names of the model's classes, if they are known.

    Returns:
        The probabilities of the classes.

    Raises:
        ValueError: For another head, and a file that does not hold a prior of the classes.
    """
    head = model.head
    if not isinstance(head, ClassCentersHead):
        raise ValueError(
            f"a target prior needs a ClassCentersHead or a PaCoHead, got a {type(head).__name__}"
        )
    prior = _read(path, head.centers.weight.size(0), classes)
    head.set_target_prior(torch.tensor(prior, dtype=torch.float64))
    total = math.fsum(prior)
    return [q / total for q in prior]


def _read(path: Path, num_classes: int, classes: Sequence[str] | None) -> list[float]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: no JSON: {error.msg}") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    if isinstance(content, dict):
        if classes is None:
            raise ValueError(f"{path} names classes, and the checkpoint has no names of them")
        if unknown := [name for name in content if name not in classes]:
            raise ValueError(f"{path}: no such class of the model: {named(unknown)}")
        if missing := [name for name in classes if name not in content]:
            raise ValueError(f"{path} has no number for the class {named(missing)}")
        content = [content[name] for name in classes]
    if not isinstance(content, list) or len(content) != num_classes:
        found = f"{len(content)}" if isinstance(content, list) else shortened(json.dumps(content))
        raise ValueError(
            f"{path} must hold a number for each of {num_classes} classes, got {found}"
        )
    for c, q in enumerate(content):
        if isinstance(q, bool) or not isinstance(q, int | float) or not 0 <= q < math.inf:
            name = f"{c} ({classes[c]})" if classes is not None else str(c)
            raise ValueError(
                f"{path}: class {name} must have a finite number >= 0, got "
                f"{shortened(json.dumps(q))}"
            )
    if not any(content):
        raise ValueError(f"{path}: some class must have a number above 0, got 0 for all")
    return [float(q) for q in content]


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(
            f"a class more than once: {named([n for n in result if names.count(n) > 1])}"
        )
    return result
