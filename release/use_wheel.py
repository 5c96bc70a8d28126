"""Uses an installed wheel where there is no compiler: python -I use_wheel.py CONSUMER

Imports, trains two iterations of a recipe, exports, and runs CONSUMER, a C++ program that was
compiled elsewhere, on the exported training step.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch

import paco

# Of some 300 images: two iterations.
SHORT = ["train_cfg.max_epochs=1", "train_dataloader.batch_size=256"]


def run(*command: object, **settings) -> None:
    print("+", *command, flush=True)
    subprocess.run([*map(str, command)], check=True, **settings)


def main() -> None:
    (consumer,) = sys.argv[1:]
    compilers = ("cc", "gcc", "c++", "g++", "clang", "nvcc")
    assert not any(map(shutil.which, compilers)), os.environ["PATH"]
    package = Path(paco.__file__).parent
    assert "site-packages" in package.parts, package
    run(sys.executable, "-m", "paco")

    config = package / ".mim" / "configs" / "digits_lt" / "paco_digits_lt.py"
    run("paco-train", config, "--work-dir", "run", "--cfg-options", *SHORT)
    checkpoint = Path("run", "epoch_1.pth")
    run("paco-test", config, checkpoint, "--work-dir", "run")
    export = ["paco-export", config, checkpoint, "--work-dir", "run"]
    run(*export, "--shape", 1, 8, 8)
    run(*export, "--format", "training-step")

    folders = [package / "lib", Path(torch.__file__).parent / "lib"]
    linked = {"LD_LIBRARY_PATH": os.pathsep.join(map(str, folders))}
    run(consumer, Path("run", "training_step.pt"), env=linked)
    print("the wheel works")


if __name__ == "__main__":
    main()
