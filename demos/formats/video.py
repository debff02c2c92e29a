"""Frames in mp4 files, by PyAV: written at a constant rate, read by their time stamps exactly."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from demos.formats.faults import one_line
from robolearn.errors import DataError

TOLERANCE_S = 1e-4  # LeRobot's
MOST_BYTES = 8 << 30  # of an episode's frames
LOSSY = ("libx264", "yuv420p", {"crf": "23", "preset": "veryfast", "bf": "0"})
LOSSLESS = ("libx264rgb", "rgb24", {"crf": "0", "preset": "veryfast", "bf": "0"})
CODECS = {"video": LOSSY, "lossless": LOSSLESS}
KEYFRAMES = 2  # every other frame is one, as LeRobot has it: any frame is quickly found
FRAMES_AT_A_TIME = 64  # where they are only looked at
IMAGE_KINDS = ("PNG", "JPEG")


def encode(frames: np.ndarray, fps: Fraction, kind: str) -> bytes:
    """Give an mp4 file of frames uint8 [T, H, W, 3], the first at 0 s; ``kind`` of ``CODECS``."""
    codec, pixels, options = CODECS[kind]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=fps, options=dict(options))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        stream.gop_size = KEYFRAMES
        stream.thread_count = 1
        stream.time_base = 1 / fps
        for k, pixels_of in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels_of), format="rgb24")
            frame.pts, frame.time_base = k, 1 / fps
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def about(size: Sequence[int], fps: int, kind: str) -> dict[str, Any]:
    """Give what LeRobot's ``info.json`` says of such a video."""
    codec, pixels, options = CODECS[kind]
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
        "video.g": KEYFRAMES,
        "video.crf": int(options["crf"]),
    }


def decode(path: Path, times_s: np.ndarray, size: Sequence[int], where: str) -> np.ndarray:
    """Give the frames [T, H, W, 3] that stand at ``times_s`` [T], to 0.1 ms.

    Raises DataError if there is none at one of them, the file is damaged, or the images have
    another ``size`` (H, W).
    """
    height, width = int(size[0]), int(size[1])
    if len(times_s) * height * width * 3 > MOST_BYTES:
        raise DataError(f"{where}: {len(times_s)} frames of {height} x {width} are too many")
    if not path.is_file():
        raise DataError(f"{path}: no such file ({where})")
    frames = np.empty((len(times_s), height, width, 3), np.uint8)
    with one_line(path):
        container = av.open(str(path), format="mp4")
        with container:
            if not container.streams.video:
                raise DataError(f"{path} holds no video")
            stream = container.streams.video[0]
            if (stream.height, stream.width) != (height, width):
                raise DataError(
                    f"{path}: its images are {stream.height} x {stream.width}, not {height} x "
                    f"{width}"
                )
            stream.thread_type = "NONE"
            _fill(container, stream, times_s, frames, path)
    return frames


def _fill(container: Any, stream: Any, times_s: np.ndarray, frames: np.ndarray, path: Path) -> None:
    base = stream.time_base
    start = int((Fraction(float(times_s[0])) - Fraction(1, 1000)) / base)
    container.seek(max(start, 0), stream=stream, backward=True)
    at = 0
    for frame in container.decode(stream):
        time_s = float(frame.pts * base)
        if time_s > times_s[at] + TOLERANCE_S:
            raise DataError(f"{path}: no frame at {times_s[at]:.4f} s; the next is at {time_s:.4f}")
        if time_s >= times_s[at] - TOLERANCE_S:
            frames[at] = frame.to_ndarray(format="rgb24")
            at += 1
            if at == len(times_s):
                return
    raise DataError(f"{path}: no frame at {times_s[at]:.4f} s: it is cut off, or not the right one")


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
