"""Builds what a wheel reads image files with: python release/image_codecs.py

That is OpenCV, static and cut down to resizing and to decoding JPEG, PNG, WebP, TIFF, BMP and PNM,
each by the library's copy in OpenCV's source; without logs and threads of its own. The source is
the sdist that image_codecs.txt pins. The result is kept in build/image_codecs until the pin or the
settings change. Needs CMake, Ninja and g++. Without nasm the decoder of JPEG files has no vector
instructions: the same pixels, more slowly.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENT = Path(__file__).with_suffix(".txt")
BUILDS = Path(__file__).parents[1] / "build" / "image_codecs"
KEPT = {"WITH_JPEG", "WITH_PNG", "WITH_WEBP", "WITH_TIFF", "WITH_IMGCODEC_PXM"}
SETTINGS = {
    "CMAKE_BUILD_TYPE": "Release",
    "CMAKE_CXX_FLAGS": "-DCV_LOG_STRIP_LEVEL=0",
    "CMAKE_INSTALL_LIBDIR": "lib",
    "BUILD_LIST": "core,imgproc,imgcodecs",
    "BUILD_SHARED_LIBS": "OFF",
    "OPENCV_FORCE_3RDPARTY_BUILD": "ON",
    **dict.fromkeys(
        [
            *("BUILD_CLAPACK", "BUILD_IPP_IW", "BUILD_ITT", "BUILD_JASPER", "BUILD_JAVA"),
            *("BUILD_OPENJPEG", "BUILD_PERF_TESTS", "BUILD_TBB", "BUILD_TESTS"),
            *("BUILD_opencv_apps", "OPENCV_GENERATE_SETUPVARS", "PARALLEL_ENABLE_PLUGINS"),
        ],
        "OFF",
    ),
}
# Licenses of what is linked, in OpenCV's source, whose own installation leaves most of them out.
LICENSES = {
    "opencv": "LICENSE",
    "softfloat": "modules/core/3rdparty/SoftFloat/COPYING.txt",
    "libjpeg-turbo": "3rdparty/libjpeg-turbo/LICENSE.md",
    "libjpeg-turbo-ijg": "3rdparty/libjpeg-turbo/README.ijg",
    "libpng": "3rdparty/libpng/LICENSE",
    "libtiff": "3rdparty/libtiff/LICENSE.md",
    "libwebp": "3rdparty/libwebp/COPYING",
    "zlib": "3rdparty/zlib/LICENSE",
}


def run(*command: object, **options) -> None:
    print("+", *command, flush=True)
    subprocess.run([*map(str, command)], check=True, **options)


def build(python: Path, environment: dict[str, str]) -> Path:
    """A prefix for CMake, and licenses in it; made by the tools on the environment's PATH."""
    assembler = shutil.which("nasm", path=environment["PATH"]) is not None
    if not assembler:
        print("There is no nasm: this wheel will decode JPEG files more slowly.")
    settings = {**SETTINGS, "ENABLE_LIBJPEG_TURBO_SIMD": "ON" if assembler else "OFF"}
    made_of = [REQUIREMENT.read_text(), settings, sorted(KEPT), LICENSES]
    key = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
    version = re.search(r"==(\S+)", REQUIREMENT.read_text())[1]
    folder = BUILDS / f"{version}-{key[:12]}"
    prefix = folder / "prefix"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        source_only = ["--no-deps", "--no-binary", "opencv-python-headless"]
        run(python, "-m", "pip", "download", *source_only, "-d", folder, "-r", REQUIREMENT)
        (archive,) = folder.glob("*.tar.gz")
        run("tar", "xf", archive, "-C", folder)
        (source,) = folder.glob("*/opencv")
        optional = set(
            re.findall(r"OCV_OPTION\((WITH_\w+)", (source / "CMakeLists.txt").read_text())
        )
        settings |= dict.fromkeys(optional - KEPT, "OFF")
        cmake = ["cmake", "-G", "Ninja", "-S", source, "-B", folder / "build"]
        defines = [f"-D{name}={value}" for name, value in settings.items()]
        run(*cmake, f"-DCMAKE_INSTALL_PREFIX={prefix}", *defines, env=environment)
        jobs = environment.get("MAX_JOBS") or os.cpu_count()
        install = ["--target", "install", "--parallel", jobs]
        run("cmake", "--build", folder / "build", *install, env=environment)
        (prefix / "licenses").mkdir()
        for name, file in LICENSES.items():
            shutil.copy(source / file, prefix / "licenses" / f"{name}.txt")
        (folder / "done").touch()
    return prefix


if __name__ == "__main__":
    print(build(Path(sys.executable), dict(os.environ)))
