"""Runs the commands of README.md that need neither downloads nor several GPUs.

Training is cut to one epoch, whose checkpoint then takes the place of the last one's.
"""

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUN = re.compile(
    r"^(python (?:tools/(?:train|test)\.py configs/digits_lt/|-m paco$).*?)(?:\s+#.*)?$"
)


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [match[1] for line in lines if (match := RUN.match(line))]


def main() -> None:
    found = commands()
    assert len(found) >= 2, found
    with tempfile.TemporaryDirectory() as folder:
        for command in [*found, "python -m paco"]:
            words = shlex.split(command.replace("epoch_200.pth", "epoch_1.pth"))
            if "tools/train.py" in words:
                words += ["--cfg-options", "train_cfg.max_epochs=1"]
            for name in ("configs", "tools"):
                link = Path(folder, name)
                if not link.exists():
                    link.symlink_to(ROOT / name)
            print("+", *words, flush=True)
            subprocess.run([sys.executable, *words[1:]], cwd=folder, check=True)


if __name__ == "__main__":
    main()
