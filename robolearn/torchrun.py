"""Which process this is, of those that torchrun has started; it says so in the environment."""

import os


def rank() -> int:
    """Give its number; 0 without torchrun."""
    return int(os.environ.get("RANK", 0))


def local_rank() -> int:
    """Give its number on this machine; 0 without torchrun."""
    return int(os.environ.get("LOCAL_RANK", 0))


def size() -> int:
    """Say how many there are; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", 1))
