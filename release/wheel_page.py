"""Prints the name of the index page that has libpaco's wheels for the PyTorch of this Python."""

import torch

minor = ".".join(torch.__version__.split(".")[:2])
device = f"cu{torch.version.cuda.replace('.', '')}" if torch.version.cuda else "cpu"
print(f"torch-{minor}+{device}.html")
