"""The token that whoever drives a robot from elsewhere must have: a file that is theirs alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from robots.base import RobotError


def make_or_read(path: Path) -> str:
    """Give the token in a file, which is made, readable by its owner only, if it is not there."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read(path)
    except OSError as error:
        raise RobotError(f"token_file: {path} cannot be written ({error.strerror})") from None
    with os.fdopen(descriptor, "w") as file:
        token = secrets.token_urlsafe(32)
        file.write(token + "\n")
    return token


def read(path: Path) -> str:
    """Give the token in a file; RobotError that says where it comes from if it is not there."""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise RobotError(
            f"token_file: {path} cannot be read; copy it from the machine with the robot, where "
            "`robolearn robots serve` has made it"
        ) from None
    if len(token) < 16:
        raise RobotError(f"token_file: {path} holds no token of 16 or more characters")
    return token
