"""Files that are there whole or not at all, and that hold what was written."""

import contextlib
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["archive_damage", "whole_file"]


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path to write the file to; as the block ends, the file gets its place and its name.

    A block that fails, or a process that is killed, leaves the file that was. A full disk is an
    OSError with the file's path. (PyTorch's own writers end the process there: hand it bytes.)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The folder is beside: archives hold their own name, and large models are more files than one.
    folder = path.with_name(f".{path.name}.partial")
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    folder.mkdir()
    try:
        yield folder / path.name
        for file in sorted(folder.iterdir(), key=lambda file: file.name == path.name):
            with open(file, "rb+") as written:
                os.fsync(written.fileno())
            os.replace(file, path.with_name(file.name))
    except OSError as error:
        of_another = error.filename is not None and not Path(error.filename).is_relative_to(folder)
        if error.errno is None or of_another:  # such as a compiler that is missing
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def archive_damage(path: str | os.PathLike[str], largest_text: int | None = None) -> str | None:
    """What is wrong with a zip archive of PyTorch's, whose own readers look at no checksum.

    With ``largest_text`` an exported file's text of more bytes is damage too, and is not unpacked.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                is_text = "/extra/" in entry.filename or entry.filename.endswith(".json")
                if largest_text is not None and is_text and entry.file_size > largest_text:
                    return (
                        f"its text {entry.filename} unpacks to {entry.file_size} bytes, and "
                        f"{largest_text} is the limit"
                    )
            name = archive.testzip()
    # zipfile raises RuntimeError for what it cannot unpack: encrypted, or by an unknown method.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError):
        return "its zip archive is cut off or overwritten"
    return name and f"{name} in it is not what was written"
