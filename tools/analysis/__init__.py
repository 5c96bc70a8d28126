"""Figures and comparisons of trained runs."""

try:
    import matplotlib  # noqa: F401
except ImportError as error:
    raise SystemExit(
        f"paco.tools.analysis draws with matplotlib: pip install 'libpaco[plots]' ({error})"
    ) from error
