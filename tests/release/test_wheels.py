"""A wheel without what it promises, or with a library that is not ours, is not released."""

import hashlib
import re
import zipfile
from pathlib import Path

import pytest

RELEASE = Path(__file__).parents[2] / "release"
INFO = "libpaco-0.2.0+pt2.13cpu.dist-info"
METADATA = """Metadata-Version: 2.4
Version: 0.2.0+pt2.13cpu
License-Expression: Apache-2.0
Requires-Dist: torch==2.13.*
Requires-Dist: scikit-learn; extra == "demo"
"""
LICENSES = [
    *("cli11", "libjpeg-turbo", "libjpeg-turbo-ijg", "libpng", "libtiff", "libwebp"),
    *("nlohmann-json", "opencv", "pybind11", "softfloat", "zlib"),
]
FILES = [
    f"{INFO}/licenses/LICENSE",
    *(f"{INFO}/licenses/licenses/{name}.txt" for name in LICENSES),
    "paco/_C.cpython-311-x86_64-linux-gnu.so",
    "paco/bin/paco-classify",
    "paco/include/paco/paco.h",
    "paco/lib/libpaco.so",
    "paco/lib/libpaco_classify.so",
    "paco/share/cmake/Paco/PacoConfig.cmake",
    "paco/tools/train.py",
    "paco/.mim/model-index.yml",
    "paco/.mim/configs/digits_lt/paco_digits_lt.py",
    *(f"paco/weights/paco_resnet32_cifar100-lt-if100.{end}" for end in ("pth", "pt", "py")),
]


@pytest.fixture(autouse=True)
def import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(RELEASE)


def check(folder: Path, files: list[str], metadata: str = METADATA) -> None:
    import wheels

    wheel = folder / "libpaco.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{INFO}/METADATA", metadata)
        for name in files:
            archive.writestr(name, "")
    wheels.check_contents(wheel, "2.13.0", cuda=False)


def test_a_wheel_as_promised_passes(tmp_path):
    check(tmp_path, FILES)


@pytest.mark.parametrize("missing", FILES)
def test_a_file_that_is_missing_is_noticed(tmp_path, missing):
    with pytest.raises(AssertionError, match=Path(missing).name.split(".")[0]):
        check(tmp_path, [name for name in FILES if name != missing])


@pytest.mark.parametrize(
    "library",
    [
        "libpaco.libs/libopencv_core-0b1d4f6a.so.4.6.0",
        "libpaco.libs/libgomp-a34b3233.so.1.0.0",
        "paco/lib/libtorch_cpu.so",
    ],
)
def test_a_library_that_is_not_ours_is_noticed(tmp_path, library):
    with pytest.raises(AssertionError, match=Path(library).name):
        check(tmp_path, [*FILES, library])


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("torch==2.13.*", "torch==2.15.*"), ("pt2.13cpu", "pt2.15cpu"), ("pt2.13cpu", "pt2.13cu130")],
)
def test_a_wheel_for_another_torch_or_device_is_noticed(tmp_path, right, wrong):
    with pytest.raises(AssertionError):
        check(tmp_path, FILES, METADATA.replace(right, wrong))


def test_a_page_has_the_hashes_of_the_files_that_lie_beside_it(tmp_path):
    """Also after one of several wheels alone was built again."""
    import wheels

    out = tmp_path / "out"
    out.mkdir()
    made = ["libpaco-0.2.0+pt2.13cpu-cp311-x.whl", "libpaco-0.2.0+pt2.15cpu-cp311-x.whl"]
    for content in ("first", "second"):
        for name in made:
            wheel, sdist = tmp_path / name, tmp_path / "libpaco-0.2.0.tar.gz"
            wheel.write_text(content + name)
            sdist.write_text(content)
            wheels.publish(wheel, sdist, out)
            for page in out.glob("*.html"):
                links = re.findall(r'href="(\S+)#sha256=(\w+)"', page.read_text())
                assert len(links) == 2
                for file, digest in links:
                    text = (out / file.replace("%2B", "+")).read_bytes()
                    assert hashlib.sha256(text).hexdigest() == digest, (page, file)
