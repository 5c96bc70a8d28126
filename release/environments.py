"""Installs libpaco's wheel where people have a toolbox: python release/environments.py [NAME...]

Each environment is made from nothing in build/environments, gets the wheel from the page that its
PyTorch has in dist/wheels (make wheels), and must keep every version that it had; then it takes a
few steps. Environments that are there already are kept.
"""

import argparse
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENTS_FOLDER = ROOT / "build" / "environments"
PAGES = ROOT / "dist" / "wheels"
RECIPE = "import paco; print(paco.__path__[0] + '/.mim/configs/digits_lt/paco_digits_lt.py')"


@dataclass
class Environment:
    python: str
    packages: list[str]
    extra: str
    example: str | None = None  # a folder of examples; the toolbox's environments train a recipe


ENVIRONMENTS = {
    "mmpretrain": Environment(
        "python3.11",
        [
            *("torch==2.13.0", "torchvision==0.28.0", "setuptools<82", "scikit-learn"),
            *("mmpretrain==1.2.0", "mmengine==0.10.7", "mmcv-lite==2.2.0"),
        ],
        "mmpretrain",
    ),
    # The PyTorch that the fork's own guide recommends.
    "onedl": Environment(
        "python3.10",
        [
            *("torch==2.8.0", "torchvision==0.23.0", "scikit-learn"),
            *("onedl-mmpretrain==1.3.6", "onedl-mmengine==0.10.12", "onedl-mmcv==2.3.6"),
        ],
        "onedl",
    ),
    "timm": Environment(
        "python3.11",
        ["torch==2.13.0", "torchvision==0.28.0", "timm==1.0.29", "scikit-learn"],
        "timm",
        "timm",
    ),
    "lightning": Environment(
        "python3.11",
        ["torch==2.13.0", "lightning==2.6.6", "scikit-learn"],
        "lightning",
        "lightning",
    ),
}


def run(*command: object, **settings) -> str:
    print("+", *command, flush=True)
    result = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, text=True, **settings)
    if result.returncode:
        raise SystemExit(f"{result.stdout}\nfailed: {' '.join(map(str, command))}")
    return result.stdout


def versions(folder: Path) -> dict[str, str]:
    lines = run(folder / "bin" / "pip", "list", "--format", "freeze").splitlines()
    return dict(line.split("==", 1) for line in lines)


def try_out(name: str, environment: Environment) -> str:
    folder = ENVIRONMENTS_FOLDER / name
    pip, python = folder / "bin" / "pip", folder / "bin" / "python"
    if not (folder / "done").exists():
        run(environment.python, "-m", "venv", "--clear", folder)
        run(pip, "install", "-q", *environment.packages)
        (folder / "done").touch()
    run(pip, "uninstall", "-q", "-y", "libpaco")
    before = versions(folder)
    page = run(python, "-c", (Path(__file__).parent / "wheel_page.py").read_text()).strip()
    if not (PAGES / page).exists():  # of another device: the operators on the CPU are the same
        page = page.split("+")[0] + "+cpu.html"
    run(pip, "install", "-q", f"libpaco[{environment.extra}]", "--find-links", PAGES / page)
    after = versions(folder)
    changed = {
        package: f"{version} → {after.get(package, 'gone')}"
        for package, version in before.items()
        if after.get(package) != version
    }
    if changed:
        raise SystemExit(f"{name}: versions changed: {changed}")
    run(pip, "check")

    work_dir = folder / "work"
    work_dir.mkdir(exist_ok=True)
    path = {**os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    if environment.example:
        example = ROOT / "examples" / environment.example / "train.py"
        run(python, example, "--steps", 3, cwd=work_dir, env=path)
    else:
        recipe = run(python, "-c", RECIPE, cwd=work_dir).strip()
        short = ["--cfg-options", "train_cfg.max_epochs=1"]
        run("paco-train", recipe, "--work-dir", "run", *short, cwd=work_dir, env=path)
        run("paco-test", recipe, "run/epoch_1.pth", "--work-dir", "run", cwd=work_dir, env=path)
    added = sorted(f"{package} {after[package]}" for package in after.keys() - before.keys())
    return f"{name}: torch {after['torch']}, nothing changed, added {', '.join(added)}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Install the wheel where people have a toolbox.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ENVIRONMENTS))
    names = parser.parse_args().names or ENVIRONMENTS
    results = [try_out(name, ENVIRONMENTS[name]) for name in names]
    print(*results, sep="\n")


if __name__ == "__main__":
    main()
