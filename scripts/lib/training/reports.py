"""Where a training may report to while it runs."""

import importlib.util

from scripts.lib.errors import UserError

# The packages that the callbacks of transformers import, any of them.
PACKAGES = {
    "tensorboard": ("tensorboard", "tensorboardX"),
    "wandb": ("wandb",),
    "trackio": ("trackio",),
}


def check_report_package(report_to: str) -> None:
    """Raise `UserError` where what is reported to is not installed."""
    packages = PACKAGES.get(report_to, ())
    if packages and not any(importlib.util.find_spec(name) for name in packages):
        raise UserError(
            f"training.report_to: {report_to} needs a package: pip install {packages[0]}, or set "
            "training.report_to: none in config.yaml"
        )
