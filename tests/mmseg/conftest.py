"""The upstream environment has no mmsegmentation: its tests run with the maintained fork."""

import importlib.util

from helpers.threads import one_thread  # noqa: F401

spec = importlib.util.find_spec("mmseg")
if spec is None or spec.origin is None:  # this folder alone is a package without an origin
    collect_ignore_glob = ["*"]
else:
    import paco.mmseg  # noqa: F401  (first: it mends the toolbox's imports)
