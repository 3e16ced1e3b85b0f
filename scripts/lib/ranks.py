"""Which of the processes of a launch this one is; one process of one where none launched it."""

import os


def rank() -> int:
    """The number of this process among all of the launch, from 0."""
    return int(os.environ.get("RANK", 0))


def local_rank() -> int:
    """The number of this process among those of this machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", 0))


def world_size() -> int:
    """How many processes the launch has."""
    return int(os.environ.get("WORLD_SIZE", 1))
