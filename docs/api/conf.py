"""Sphinx's settings for the Python reference: make docs."""

import paco

# Before autodoc imports anything of the toolbox, because it mends the toolbox's imports.
import paco.mmpretrain
import paco.mmseg

project = "libpaco"
version = release = paco.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "alabaster"
html_show_copyright = html_show_sourcelink = False

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
]
