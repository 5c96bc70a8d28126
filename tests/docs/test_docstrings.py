"""Every public name says what it is and what its arguments are."""

import importlib
import importlib.metadata
import inspect
import re

import pytest

import paco

MODULES = [
    "paco",
    "paco.deploy",
    "paco.distributed",
    "paco.image_metadata",
    "paco.longtail",
    "paco.metrics",
    "paco.mmpretrain",
    "paco.nn",
    "paco.reference",
    "paco.segmentation",
]
# The upstream environment lacks this toolbox; `make test-onedl` runs these tests as well.
if any(importlib.metadata.distributions(name="onedl-mmsegmentation")):
    MODULES.append("paco.mmseg")


def public_names() -> list:
    names = []
    for module in MODULES:
        public = importlib.import_module(module).__all__
        names += [pytest.param(module, name, id=f"{module}.{name}") for name in public]
    return names


def documented(docstring: str) -> set[str]:
    """The arguments in a docstring, and in those of the functions of ``paco`` that it names."""
    names = section_of_arguments(docstring)
    for name in re.findall(r":func:`paco\.(\w+)`", docstring):
        names |= section_of_arguments(inspect.cleandoc(getattr(paco, name).__doc__))
    return names


def section_of_arguments(docstring: str) -> set[str]:
    """The names that are explained there; "low, high: ..." are two."""
    section = re.search(r"^Args:\n((?:[ ]+.*\n|\n)+)", docstring + "\n", flags=re.MULTILINE)
    if section is None:
        return set()
    names = re.findall(r"^    ([\w*][\w, *]*?)(?: \(.*\))?: ", section[1], flags=re.MULTILINE)
    return {name.strip("* ") for line in names for name in line.split(",")}


def arguments(value: object) -> set[str]:
    """The arguments of a function, or of a class that has a constructor of its own."""
    if inspect.isclass(value):
        value = vars(value).get("__init__")
    if not inspect.isfunction(value):
        return set()
    return set(inspect.signature(value).parameters) - {"self", "kwargs", "args"}


@pytest.mark.parametrize(("module", "name"), public_names())
def test_it_is_documented_with_its_arguments(module, name):
    value = getattr(importlib.import_module(module), name)
    if isinstance(value, str):
        return  # __version__
    docstring = inspect.cleandoc(value.__doc__ or "")
    assert re.fullmatch(r".+[.:]", docstring.splitlines()[0]), "the first line must be a summary"
    assert arguments(value) - documented(docstring) == set()


def test_an_argument_that_is_not_documented_is_noticed():
    def function(a, b, c):
        """Does.

        Args:
            a (int): One.
            b, d: Others.
                c: no argument of this one.
        """

    names = documented(inspect.cleandoc(function.__doc__))
    assert names == {"a", "b", "d"}
    assert arguments(function) - names == {"c"}
