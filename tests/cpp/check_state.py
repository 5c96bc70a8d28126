"""The state that nn/state_test.cpp saved is whole in Python: python check_state.py FOLDER"""

import sys
from pathlib import Path

import torch
from export_models import Modules

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    # Both have taken one step from one state, and then the same next one.
    results = []
    for name in ("modules_of_cpp.pt", "modules_after.pt"):
        modules = Modules()
        modules.load_state_dict(torch.jit.load(folder / name).state_dict())
        run = torch.jit.load(folder / "modules_run.pt")
        loss = modules.take_step(run.pooled, run.labels)
        results.append({"loss": loss.detach(), **modules.state_dict()})
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)
    print("C++ state continues in Python")
