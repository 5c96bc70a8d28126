"""Converts weights of the papers' code: python tools/convert_reference.py CONFIG CHECKPOINT OUT."""

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

from paco.tools import command_line  # first: it mends the toolbox's imports

# isort: split
import torch
from mmengine.config import Config
from mmpretrain import get_model
from mmpretrain.registry import DATASETS

from paco._files import whole_file
from paco.mmpretrain import (
    CheckpointError,
    convert_reference_state,
    proco_estimates,
    read_checkpoint,
)
from paco.mmpretrain.naming import named


class Attributes:
    """What a checkpoint has of an object of a class that is not here."""


# ProCo's checkpoints hold its loss, and with it the estimates of the classes, as an object.
OBJECTS = [(Attributes, f"loss.proco.{name}") for name in ("ProCoLoss", "EstimatorCV")]


def unpickle(path: str, map_location: str) -> object:
    """Loads weights, and the arguments of the command line that trained them."""
    with torch.serialization.safe_globals([argparse.Namespace, *OBJECTS]):
        return torch.load(path, map_location=map_location, weights_only=True)


def class_names(cfg: Config) -> tuple[str, ...] | None:
    """The names of the test set's classes, if they are known without annotations and images."""
    try:
        dataset = DATASETS.build({**cfg.test_dataloader.dataset, "lazy_init": True})
    except FileNotFoundError:  # a list of names that is not there
        return None
    return dataset.metainfo.get("classes")


def convert(args: argparse.Namespace) -> None:
    cfg = command_line.load_config(args)
    checkpoint = read_checkpoint(args.checkpoint, "cpu", load=unpickle)
    if "state_dict" not in checkpoint:
        raise CheckpointError(
            f"{args.checkpoint} has no state_dict, but {named(list(map(str, checkpoint)))}; "
            "the MAE vision transformers of the papers' code are not converted"
        )
    weights = {name.removeprefix("module."): x for name, x in checkpoint["state_dict"].items()}
    if "criterion_scl" in checkpoint:
        weights |= proco_estimates(checkpoint["criterion_scl"])
    state, unused = convert_reference_state(weights, get_model(cfg, device="cpu"))
    meta: dict[str, object] = {"converted_from": args.checkpoint.name}
    if classes := class_names(cfg):
        meta["dataset_meta"] = {"classes": classes}
    content = io.BytesIO()
    torch.save({"meta": meta, "state_dict": state}, content)
    with whole_file(args.out) as file:
        file.write_bytes(content.getvalue())
    print(f"{args.out}: the weights of {args.checkpoint}")
    if not classes:
        print("without class names, which the config does not say: paco-classify would need them")
    parts = sorted({name.rsplit(".", 1)[0] for name in unused})
    if parts:
        print(f"without what the model has no use for: {', '.join(parts)}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Convert a checkpoint of github.com/dvlab-research/"
        "Parametric-Contrastive-Learning, of github.com/FlamieZhu/Balanced-Contrastive-Learning or "
        "of github.com/LeapLabTHU/ProCo into one of a config's classifier, with the same logits."
    )
    command_line.add_config_arguments(
        parser, help="config file of the model that the checkpoint becomes"
    )
    parser.add_argument("checkpoint", help="checkpoint file of the reference code", type=Path)
    parser.add_argument("out", help="checkpoint file to write", type=Path)
    args = parser.parse_args(arguments)

    with command_line.refusals_without_traceback(parser):
        convert(args)


if __name__ == "__main__":
    main()
