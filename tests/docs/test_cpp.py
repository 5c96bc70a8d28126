"""docs/cpp.md lists the public headers and what they declare, no more and no less."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CSRC = ROOT / "csrc"


def listed() -> dict[str, dict[str, set[str]]]:
    """The names of each header of each section."""
    sections: dict[str, dict[str, set[str]]] = {}
    for line in (ROOT / "docs" / "cpp.md").read_text().splitlines():
        if title := re.match(r"## `<paco/(.*)>`", line):
            headers = sections[title[1]] = {}
        elif row := re.match(r"\| (?:\[(.*)\]\(\.\./csrc/(.*)\))? ?\| `(?:paco::)?(\w+)` \|", line):
            if row[1]:
                assert row[1] == row[2]
                names = headers[row[1]] = set()
            names.add(row[3])
    return sections


def declared(header: str) -> set[str]:
    """The functions, modules and structs that a header gives its users."""
    text = re.sub(r"//.*", "", (CSRC / header).read_text())
    functions = re.findall(r"^PACO_API [\w:<>]+ (\w+)\(", text, flags=re.MULTILINE)
    classes = re.findall(
        r"^(?:class|struct|enum class) (?:PACO_API )?(\w+)", text, flags=re.MULTILINE
    )
    return {*functions, *(name.removesuffix("Impl") for name in classes)}


@pytest.mark.parametrize("umbrella", ["paco.h", "nn.h", "classify.h"])
def test_every_public_header_is_listed_with_its_names(umbrella):
    included = re.findall(r'#include "(.*)"', (CSRC / umbrella).read_text())
    assert listed()[umbrella] == {header: declared(header) for header in included}
