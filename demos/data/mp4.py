"""Frames in mp4 files, by PyAV: written at a constant rate, read by their time stamps exactly."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Literal

import av
import numpy as np

from robolearn.errors import DataError
from robolearn.types import ArraySpec, Spec

Images = Literal["frames", "video", "lossless"]
"""How a dataset of ours keeps colour cameras: each frame by itself, exactly; h264, with loss; or
h264 without."""

TOLERANCE_S = 1e-4  # LeRobot's
MOST_BYTES = 8 << 30  # of an episode's frames
# As large and as near to the original as "veryfast" at crf 23, in two thirds of its time.
FAST = {"crf": "25", "preset": "superfast", "aq-mode": "0", "bf": "0"}
LOSSY = ("libx264", "yuv420p", FAST)
LOSSLESS = ("libx264rgb", "rgb24", {"crf": "0", "preset": "veryfast", "bf": "0"})
CODECS = {"video": LOSSY, "lossless": LOSSLESS}
KEYFRAMES = 2  # every other frame is one, as LeRobot has it: any frame is quickly found
FINEST_RATE = 10_000  # largest denominator of a rate, frames a second


@dataclass(frozen=True)
class Clip:
    """A camera's frames of an episode as an mp4 file: frame k stands at k / ``fps`` seconds."""

    content: bytes
    fps: Fraction
    shape: tuple[int, ...]  # [T + 1, H, W, 3]

    @classmethod
    def of(cls, frames: np.ndarray, fps: Fraction, kind: str) -> Clip:
        """Encode frames uint8 [T + 1, H, W, 3] as ``kind`` of ``CODECS`` says."""
        return cls(encode(frames, fps, kind), fps, frames.shape)

    def frames(self, where: str) -> np.ndarray:
        """Decode the frames; DataError, or one of PyAV's errors, if the file is damaged."""
        times_s = np.arange(self.shape[0]) * float(1 / self.fps)
        return decode(io.BytesIO(self.content), times_s, self.shape[1:3], where)


def clips_of(
    observations: Mapping[str, np.ndarray], interface: Spec, images: Images
) -> dict[str, Clip]:
    """Encode the colour cameras of an episode [T + 1, H, W, 3] that are to be kept as video."""
    if images == "frames":
        return {}
    return {
        name: Clip.of(observations[name], rate_of(interface), images)
        for name, array in interface.observations.items()
        if is_colour(array)
    }


def is_colour(array: ArraySpec) -> bool:
    """Say whether an observation is a colour camera's, uint8 [H, W, 3]."""
    return array.dtype == "uint8" and len(array.shape) == 3 and array.shape[2] == 3


def rate_of(interface: Spec) -> Fraction:
    """Give the frames a second; one where nobody knows."""
    period_s = interface.period_s
    return Fraction(1 / period_s).limit_denominator(FINEST_RATE) if period_s else Fraction(1)


def require_even(observations: Mapping[str, ArraySpec], images: str, instead: str) -> None:
    """Raise DataError for cameras of an odd size where colours are kept for two pixels each."""
    for name, array in observations.items():
        if images == "video" and is_colour(array) and any(n % 2 for n in array.shape[:2]):
            size = f"{array.shape[0]} x {array.shape[1]}"
            raise DataError(
                f"{name}: images of {size} cannot be lossy h264, which needs even sizes: give "
                f"images=lossless or images={instead}"
            )


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


def decode(
    file: Path | BinaryIO, times_s: np.ndarray, size: Sequence[int], where: str
) -> np.ndarray:
    """Give the frames [T, H, W, 3] that stand at ``times_s`` [T], to 0.1 ms.

    Raises DataError if there is none at one of them, or the images have another ``size`` (H, W);
    for a file that is damaged also what PyAV raises.
    """
    height, width = int(size[0]), int(size[1])
    if len(times_s) * height * width * 3 > MOST_BYTES:
        raise DataError(f"{where}: {len(times_s)} frames of {height} x {width} are too many")
    frames = np.empty((len(times_s), height, width, 3), np.uint8)
    opened = str(file) if isinstance(file, Path) else file
    with av.open(opened, format="mp4") as container:
        if not container.streams.video:
            raise DataError(f"{where} holds no video")
        stream = container.streams.video[0]
        if (stream.height, stream.width) != (height, width):
            found = f"{stream.height} x {stream.width}"
            raise DataError(f"{where}: its images are {found}, not {height} x {width}")
        stream.thread_type = "NONE"
        _fill(container, stream, times_s, frames, where)
    return frames


def _fill(container: Any, stream: Any, times_s: np.ndarray, frames: np.ndarray, where: str) -> None:
    base = stream.time_base
    start = int((Fraction(float(times_s[0])) - Fraction(1, 1000)) / base)
    container.seek(max(start, 0), stream=stream, backward=True)
    at = 0
    for frame in container.decode(stream):
        time_s = float(frame.pts * base)
        if time_s > times_s[at] + TOLERANCE_S:
            next_s = f"the next is at {time_s:.4f}"
            raise DataError(f"{where}: no frame at {times_s[at]:.4f} s; {next_s}")
        if time_s >= times_s[at] - TOLERANCE_S:
            frames[at] = frame.to_ndarray(format="rgb24")
            at += 1
            if at == len(times_s):
                return
    cut = "it is cut off, or not the right one"
    raise DataError(f"{where}: no frame at {times_s[at]:.4f} s: {cut}")
