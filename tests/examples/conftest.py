"""Lets the examples import torchvision beside a CPU build of torch, as the toolbox does."""

import paco.mmpretrain  # noqa: F401
