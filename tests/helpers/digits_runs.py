"""Short runs on the digits with the toolbox's runner."""

import uuid
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"


def runner(work_dir: Path, recipe: str = "paco", **options) -> Runner:
    """A runner of one epoch of ``configs/digits_lt/<recipe>.py``, with settings overridden."""
    config = Config.fromfile(CONFIGS / "digits_lt" / f"{recipe}.py")
    config.work_dir = str(work_dir)
    # The toolbox shares logs between runs of one name, and names a run by the second.
    config.experiment_name = uuid.uuid4().hex
    config.train_cfg.max_epochs = 1
    config.merge_from_dict(options)
    return Runner.from_cfg(config)
