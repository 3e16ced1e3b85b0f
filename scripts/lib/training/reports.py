"""Where a training may report to while it runs."""

import importlib.util
import os
from pathlib import Path

from scripts.lib.errors import UserError

# The packages that the callbacks of transformers import, any of them.
PACKAGES = {
    "tensorboard": ("tensorboard", "tensorboardX"),
    "wandb": ("wandb",),
    "trackio": ("trackio",),
}


PROJECT = "ada-instruct"


def prepare_reports(report_to: str, tensorboard_folder: Path) -> None:
    """Name the project and the folder of reports, unless the environment does.

    Raises `UserError` where what is reported to is not installed.
    """
    packages = PACKAGES.get(report_to, ())
    if packages and not any(importlib.util.find_spec(name) for name in packages):
        raise UserError(
            f"training.report_to: {report_to} needs a package: pip install {packages[0]}, or set "
            "training.report_to: none in config.yaml"
        )
    # Not where the Trainer would put them: with the checkpoints, which go when it is done.
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(tensorboard_folder))
    os.environ.setdefault("WANDB_PROJECT", PROJECT)
