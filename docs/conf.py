"""Sphinx's settings for the documentation as one site: make docs.

The source folder is the project's, so that links between its files are the same here and in a
checkout: guides and recipes are the Markdown files, references are made of docstrings and headers.
"""

import re
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

import paco

# Before autodoc imports anything of the toolbox, because it mends the toolbox's imports.
import paco.mmpretrain
import paco.mmseg

ROOT = Path(__file__).parents[1]

project = "libpaco"
version = release = paco.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = [
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md"),
    *("docs/**", "configs/*/README.md"),
]
exclude_patterns = [".*", "build*", "dist", "work_dirs", "data", "paco", "csrc", "**/*.py"]

html_theme = "furo"
html_math_renderer = "mathml"
html_title = f"libpaco {version}"
html_show_copyright = html_show_sourcelink = False
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # what a class inherits is in its base's documentation
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# A name that cannot be found is an error, but for other projects' names, which are not here.
nitpicky = True
nitpick_ignore_regex = [
    (
        r"py:.*",
        r"(torch|numpy|mm(cv|engine|pretrain|seg)|collections|numbers|os|pathlib|typing)\..*",
    ),
    (r"py:class", r"optional"),
    (r"py:class", r"paco\.mmpretrain\.datasets\.cifar_lt\._LongTailed"),
    (r"py:class", r"paco\.mmpretrain\.datasets\.transforms\.contrast_views\.T"),
]


def public_headers() -> list[str]:
    """The headers that are installed, as CMakeLists.txt lists them, the umbrellas first."""
    text = (ROOT / "CMakeLists.txt").read_text()
    listed = re.search(r"foreach\(header\s+(.*?)\)", text, re.DOTALL)[1].split()
    return sorted(set(listed) - {"macros.h"}, key=lambda name: ("/" in name, name))


def adapt_links(app: Sphinx, name: str, source: list[str]) -> None:
    """Links to public headers lead to the page that has them; a site has no page of a folder."""
    here = ROOT.joinpath(name).parent
    source[0] = re.sub(
        r"\[([^]]+)\]\(([^)#:\s]+)\)",
        lambda link: f"`{link[1]}`" if (here / link[2]).is_dir() else link[0],
        source[0],
    )
    reference = "cpp-reference.md" if name.startswith("docs/") else "docs/cpp-reference.md"
    for header in public_headers():
        anchor = re.sub(r"\W", "", header)
        source[0] = re.sub(
            rf"\]\((\.\./)?csrc/{re.escape(header)}\)", f"]({reference}#{anchor})", source[0]
        )
    if name == "docs/cpp-reference":
        for header in public_headers():
            anchor = re.sub(r"\W", "", header)
            source[0] += (
                f"\n\n({anchor})=\n## `<paco/{header}>`\n\n"
                f"```{{literalinclude}} ../csrc/{header}\n:language: cpp\n"
                "```\n"
            )


# Formulas are MathML, which browsers draw without a program from elsewhere.
def visit_math(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def visit_math_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    translator.body.append(convert(node.astext(), display="block"))
    raise nodes.SkipNode


def write_first_page(app: Sphinx, error: Exception | None) -> None:
    """A site is asked for its root, and the first page is in docs/, as in a checkout."""
    page = '<!DOCTYPE html><meta http-equiv="refresh" content="0; url=docs/index.html">'
    (Path(app.outdir) / "index.html").write_text(
        f'{page}<a href="docs/index.html">{html_title}</a>\n'
    )


def setup(app: Sphinx) -> None:
    app.connect("build-finished", write_first_page)
    app.connect("source-read", adapt_links)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
