"""Frames of video files, and of folders of them or of images."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from robolearn.errors import UserError
from sim.distractors.clips import Frames

FEWEST_FRAMES = 50
MOST_FRAMES = 300  # of a clip: what comes later is not read
CLIPS_KEPT = 16  # in a process: 160 MB of frames 92 pixels high
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
LOG_LEVEL, QUIET = "OPENCV_FFMPEG_LOGLEVEL", "-8"


def read_clips(path: str, side: int, where: str) -> list[Callable[[], Frames]]:
    """List what gives the frames of each clip at a path, in the order of the names.

    Frames are as small as their shorter side of ``side`` pixels allows, and kept for who asks next.
    Raises UserError for a path with nothing to read, and for a clip that cannot be read or has less
    than 50 frames.
    """
    found = _find(Path(path), where)
    for clip in found:
        _check(clip, _changed(clip), where)
    return [functools.partial(_read, clip, _changed(clip), side) for clip in found]


def _find(path: Path, where: str) -> list[Path]:
    """List video files, and folders that hold images."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{where}: {path}: no such file or folder, seen from {Path.cwd()}")
    inside = sorted(path.iterdir())
    found = [file for file in inside if file.suffix.lower() in VIDEOS]
    found += [folder for folder in (path, *inside) if folder.is_dir() and _images(folder)]
    if not found:
        raise UserError(f"{where}: {path}: no videos and no images in this folder")
    return found


def _images(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGES)


def _changed(clip: Path) -> int:
    return clip.stat().st_mtime_ns


@functools.lru_cache(maxsize=10_000)
def _check(clip: Path, changed: int, where: str) -> None:
    """Raise UserError for what is no clip of enough frames."""
    count = 0
    for count, frame in enumerate(_frames(clip), start=1):
        if frame is None:
            raise UserError(f"{where}: {_images(clip)[count - 1]}: not an image that can be read")
        if count == FEWEST_FRAMES:
            return
    if count == 0:
        raise UserError(f"{where}: {clip}: not a video that can be read")
    raise UserError(
        f"{where}: {clip}: {count} frames; a clip needs {FEWEST_FRAMES} or more to move behind"
    )


@functools.lru_cache(maxsize=CLIPS_KEPT)
def _read(clip: Path, changed: int, side: int) -> Frames:
    """Read the frames of a clip, of the size of its first."""
    frames, size = [], None
    for _, frame in zip(range(MOST_FRAMES), _frames(clip), strict=False):
        if frame is None:  # a damaged image among good ones; the one before it stands still
            continue
        height, width = frame.shape[:2]
        scale = min(1.0, side / min(height, width))
        size = size or (round(scale * width), round(scale * height))
        small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        frames.append(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))
    return np.stack(frames)


def _frames(clip: Path) -> Iterator[np.ndarray | None]:
    """Give the frames as OpenCV reads them; None for an image that it cannot read."""
    if clip.is_dir():
        yield from (cv2.imread(str(image)) for image in _images(clip))
        return
    with _quiet():
        video = cv2.VideoCapture(str(clip))
    try:
        while (frame := video.read()) and frame[0]:
            yield frame[1]
    finally:
        video.release()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Have OpenCV's decoder keep to itself what it thinks of a file: it asks once, at its first."""
    before = os.environ.get(LOG_LEVEL)
    os.environ.setdefault(LOG_LEVEL, QUIET)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(LOG_LEVEL, None)
