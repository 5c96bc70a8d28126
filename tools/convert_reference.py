"""Converts weights of the papers' code: python tools/convert_reference.py CONFIG CHECKPOINT OUT."""

import argparse
from pathlib import Path

# First, because it mends the toolbox's imports where that is needed.
import paco.mmpretrain  # noqa: F401

# isort: split
import torch
from mmengine.config import Config, DictAction
from mmpretrain import get_model

from paco.mmpretrain.reference_checkpoint import convert_reference_state


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Convert a checkpoint of github.com/dvlab-research/"
        "Parametric-Contrastive-Learning into one of a config's classifier, with the same logits."
    )
    parser.add_argument("config", help="config file of the model that the checkpoint becomes")
    parser.add_argument("checkpoint", help="checkpoint file of the reference code", type=Path)
    parser.add_argument("out", help="checkpoint file to write", type=Path)
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, help="override settings of the config"
    )
    args = parser.parse_args()

    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    checkpoint = torch.load(args.checkpoint, map_location="cpu", weights_only=True)
    if "state_dict" not in checkpoint:
        raise SystemExit(f"convert_reference.py: {args.checkpoint} has no state_dict")
    try:
        state, unused = convert_reference_state(
            checkpoint["state_dict"], get_model(cfg, device="cpu")
        )
    except ValueError as error:
        raise SystemExit(f"convert_reference.py: {error}") from error
    torch.save({"meta": {"converted_from": args.checkpoint.name}, "state_dict": state}, args.out)
    print(f"{args.out}: the weights of {args.checkpoint}")
    parts = sorted({name.rsplit(".", 1)[0] for name in unused})
    if parts:
        print(f"without what the model has no use for: {', '.join(parts)}")


if __name__ == "__main__":
    main()
