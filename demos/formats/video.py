"""Others' images: LeRobot's mp4 files, and PNG or JPEG in tables."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from demos.data import mp4
from demos.formats.faults import one_line
from robolearn.errors import DataError

TOLERANCE_S = mp4.TOLERANCE_S
FRAMES_AT_A_TIME = 64  # where they are only looked at
IMAGE_KINDS = ("PNG", "JPEG")


def about(size: Sequence[int], fps: int, kind: str) -> dict[str, Any]:
    """Give what LeRobot's ``info.json`` says of such a video."""
    _, pixels, options = mp4.CODECS[kind]
    return {
        "video.height": int(size[0]),
        "video.width": int(size[1]),
        "video.codec": "h264",
        "video.pix_fmt": pixels if kind == "video" else "gbrp",
        "video.fps": fps,
        "video.channels": 3,
        "is_depth_map": False,
        "video.is_depth_map": False,
        "has_audio": False,
        "video.g": mp4.KEYFRAMES,
        "video.crf": int(options["crf"]),
    }


def decode(path: Path, times_s: np.ndarray, size: Sequence[int], where: str) -> np.ndarray:
    """Give the frames [T, H, W, 3] that stand at ``times_s`` [T], to 0.1 ms.

    Raises DataError if there is none at one of them, the file is damaged, or the images have
    another ``size`` (H, W).
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file ({where})")
    with one_line(path):
        return mp4.decode(path, times_s, size, str(path))


def verify(path: Path, times_s: np.ndarray, size: Sequence[int], where: str) -> None:
    """Raise DataError unless ``decode`` would find all frames; none of them is kept."""
    for start in range(0, len(times_s), FRAMES_AT_A_TIME):
        decode(path, times_s[start : start + FRAMES_AT_A_TIME], size, where)


def png(image: np.ndarray) -> bytes:
    """Give an image uint8 [H, W, 3] as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def image(value: Any, size: Sequence[int], where: str) -> np.ndarray:
    """Read an image that stands in a table, ``{"bytes": ...}``; DataError for another size."""
    content = value.get("bytes") if isinstance(value, Mapping) else None
    if not content:
        raise DataError(f"{where}: the image is not in the table")
    with one_line(where):
        with Image.open(io.BytesIO(content), formats=IMAGE_KINDS) as opened:
            if opened.size != (int(size[1]), int(size[0])):
                raise DataError(f"{where}: an image of {opened.size[1]} x {opened.size[0]}")
            return np.asarray(opened.convert("RGB"))
