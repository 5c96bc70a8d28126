"""A classifier in C++, TorchScript and .pt2, against Python eager and torch.compile.

    python benchmarks/deploy.py

Latency of one image, throughput of a batch, how long each takes to load; and libpaco's size and
load time. The networks are those of the configs with random weights, which take the same time.
Nothing is timed before all candidates give the same logits. Needs the toolbox and CMake.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

# First, because it mends the toolbox's imports where that is needed.
import paco.mmpretrain

# isort: split
import torch
from harness import SETTLE_SECONDS, Timing, base_parser, machine, write_csv
from mmpretrain import get_model
from torch import Tensor, nn

from paco import deploy

PACKAGE = Path(paco.__file__).parent
SOURCE = Path(__file__).parent / "deploy"
BUILD = Path("build/benchmarks/deploy")
# The config of a network and the shape of its images.
MODELS = {
    "resnet32": ("configs/cifar100_lt/paco_if100.py", (3, 32, 32)),
    "resnet50": ("configs/imagenet_lt/paco_r50.py", (3, 224, 224)),
}
# Given a number of images, the seconds that a batch takes and the logits of its last image.
Candidate = Callable[[int], tuple[float, Tensor]]


def build_program() -> Path:
    scripts = sysconfig.get_path("scripts")
    cmake = shutil.which("cmake", path=os.pathsep.join([scripts, os.environ["PATH"]]))
    if cmake is None:
        raise SystemExit("deploy.py: the C++ side is built with CMake: pip install cmake")
    prefixes = f"-DCMAKE_PREFIX_PATH={PACKAGE};{torch.utils.cmake_prefix_path}"
    for command in ([cmake, "-S", SOURCE, "-B", BUILD, prefixes], [cmake, "--build", BUILD]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return BUILD / "classifier"


@contextlib.contextmanager
def cpp(program: Path, model: Path, shape: tuple[int, ...], threads: int) -> Iterator[tuple]:
    """A process that keeps the model: the seconds that it took to load, and the candidate."""
    with subprocess.Popen(
        [program, model, *map(str, shape)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    ) as process:

        def call(n: int) -> tuple[float, Tensor]:
            print(n, file=process.stdin, flush=True)
            seconds, *logits = map(float, process.stdout.readline().split())
            return seconds, torch.tensor(logits)

        yield float(process.stdout.readline()), call
        process.stdin.close()


def python(model: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Candidate:
    batches: dict[int, Tensor] = {}

    def call(n: int) -> tuple[float, Tensor]:
        if n not in batches:
            images = torch.linspace(-1, 1, n * torch.Size(shape).numel())
            batches[n] = images.view(n, *shape)
        with torch.inference_mode():
            start = time.perf_counter()
            logits = model(batches[n])
            return time.perf_counter() - start, logits[-1]

    return call


def take_turns(candidates: dict[str, Candidate], images: int, turns: int) -> dict[str, Timing]:
    """harness.interleave for candidates that time themselves: the pipe to C++ does not count."""
    results = {name: call(images)[1] for name, call in candidates.items()}
    expected = results["eager"]
    for name, logits in results.items():
        difference = ((logits - expected).abs().max() / expected.abs().max()).item()
        if not difference < 1e-3:
            raise RuntimeError(f"the logits of {name} differ by {difference:g} of the largest")
    seconds = {name: [call(images)[0]] for name, call in candidates.items()}
    for _ in range(turns):
        for name, call in candidates.items():
            if seconds[name][0] < SETTLE_SECONDS:
                call(images)
            seconds[name].append(call(images)[0])
    return {name: Timing.of(times[1:]) for name, times in seconds.items()}


def measure(
    name: str, model: nn.Module, folder: Path, program: Path, options: Any
) -> Iterator[dict[str, Any]]:
    shape = MODELS[name][1]
    for suffix in ("pt", "pt2"):
        deploy.export_classifier(model, torch.randn(2, *shape), folder / f"{name}.{suffix}")
    for threads in options.threads:
        torch.set_num_threads(threads)
        torch.compiler.reset()  # its code has the number of threads in it
        with (
            cpp(program, folder / f"{name}.pt", shape, threads) as (pt_seconds, pt),
            cpp(program, folder / f"{name}.pt2", shape, threads) as (pt2_seconds, pt2),
        ):
            candidates = {
                "eager": python(model, shape),
                "compile": python(torch.compile(model, dynamic=False), shape),
                "cpp_torchscript": pt,
                "cpp_pt2": pt2,
            }
            load = {"cpp_torchscript": pt_seconds, "cpp_pt2": pt2_seconds}
            for images, turns in (1, options.turns), (options.batch, options.batch_turns):
                for candidate, timing in take_turns(candidates, images, turns).items():
                    yield {
                        "model": name,
                        "threads": threads,
                        "candidate": candidate,
                        "images": images,
                        **asdict(timing),
                        "images_per_second": 1e3 * images / timing.median_ms,
                        "load_ms": 1e3 * load[candidate] if candidate in load else "",
                    }


def libpaco() -> tuple[int, float]:
    """Size in bytes, and the milliseconds that loading takes where torch is there already."""
    library = PACKAGE / "lib" / "libpaco.so"
    program = (
        "import ctypes, time, torch; start = time.perf_counter(); "
        f"ctypes.CDLL({str(library)!r}); print(time.perf_counter() - start)"
    )
    seconds = [
        float(
            subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout
        )
        for _ in range(5)
    ]
    return library.stat().st_size, 1e3 * median(seconds)


def main() -> None:
    parser = base_parser(__doc__.splitlines()[0], "deploy")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batch", type=int, default=32, help="images, for the throughput")
    parser.add_argument("--turns", type=int, default=30, help="of one image")
    parser.add_argument("--batch-turns", type=int, default=5, help="of a batch")
    options = parser.parse_args()

    program = build_program()
    print(machine())
    size, load_ms = libpaco()
    print(f"libpaco.so: {size / 1024:.0f} KB, loaded in {load_ms:.1f} ms beside torch")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            model = paco.mmpretrain.InferenceClassifier(get_model(MODELS[name][0])).eval()
            for row in measure(name, model, Path(folder), program, options):
                rows.append({**row, "libpaco_bytes": size, "libpaco_load_ms": load_ms})
                loaded = f", loaded in {row['load_ms']:.0f} ms" if row["load_ms"] else ""
                print(
                    f"{name:9}{row['threads']:2} threads {row['images']:4} images "
                    f"{row['candidate']:16}{row['median_ms']:10.2f} ms, at least "
                    f"{row['min_ms']:10.2f} ms, {row['images_per_second']:8.1f} a second{loaded}",
                    flush=True,
                )
            write_csv(options.csv, rows)
    print(f"wrote {options.csv}")


if __name__ == "__main__":
    main()
