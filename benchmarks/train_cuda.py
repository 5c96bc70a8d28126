"""The published recipes of CIFAR-100-LT, imbalance factor 100, on a GPU: accuracy and time.

    python benchmarks/train_cuda.py --data-root data/cifar100       # into benchmarks/results

Trains each recipe by tools/train_fast.py, 400 epochs, and keeps its log. The accuracy is that of
the last epoch; none is chosen by the test set. The time is that of the whole command.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

import paco

ROOT = Path(__file__).parents[1]
WORK_DIR = ROOT / "work_dirs" / "train_cuda"
# Top-1 in percent, as published.
PUBLISHED = {"paco": 52.0, "gpaco": 52.3}


def train(recipe: str, settings: list[str], results: Path) -> dict[str, Any]:
    """Trains a recipe with these settings of its config, and leaves its log in ``results``."""
    work_dir = WORK_DIR / recipe
    shutil.rmtree(work_dir, ignore_errors=True)
    config = ROOT / "configs" / "cifar100_lt" / f"{recipe}_if100.py"
    command = [sys.executable, ROOT / "tools" / "train_fast.py", config, "--work-dir", work_dir]
    start = time.perf_counter()
    subprocess.run([*map(str, command), "--cfg-options", *settings], check=True, cwd=ROOT)
    seconds = time.perf_counter() - start

    results.mkdir(parents=True, exist_ok=True)
    (log,) = work_dir.glob("*/*.log")
    shutil.copy(log, results / f"cifar100_lt_{recipe}.log")
    (scalars,) = work_dir.glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    last = [line for line in lines if "long_tail/top1" in line][-1]
    names = ("top1", "mean", "many", "medium", "few")
    return {
        "recipe": recipe,
        "epochs": last["step"],
        "seconds": round(seconds, 1),
        **{name: last[f"long_tail/{name}"] for name in names},
        "published": PUBLISHED[recipe],
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "torch": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data-root", type=Path, default=Path("data/cifar100"))
    parser.add_argument("--recipes", nargs="+", choices=PUBLISHED, default=list(PUBLISHED))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("this benchmark needs a GPU")
    if not paco.build_info()["cuda_version"]:
        parser.error("libpaco was built without CUDA kernels; PACO_CUDA=1 asks for them")

    data_root = options.data_root.resolve()
    settings = [f"{part}_dataloader.dataset.data_root={data_root}" for part in ("train", "val")]
    rows = []
    for recipe in options.recipes:
        rows.append(train(recipe, settings, options.results.resolve()))
        print(rows[-1], flush=True)
        with (options.results / "cifar100_lt.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
