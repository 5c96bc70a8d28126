"""Every link between the project's own files leads somewhere, and every file named is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for folder in (".", "docs", "configs/*", "benchmarks", "examples/*")
    for page in ROOT.glob(f"{folder}/*.md")
)


def anchors(page: Path) -> set[str]:
    """A page's headings as GitHub links to them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_there_are_pages():
    assert {"README.md", "how-to.md", "recipes.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_its_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_programs_it_names_are_there(page):
    named = re.findall(
        r"(?<![\w/.])(?:tools|configs|examples|benchmarks)/[\w/]+\.(?:py|sh)\b", page.read_text()
    )
    assert [path for path in named if not (ROOT / path).exists()] == []
