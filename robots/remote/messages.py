"""What goes over the line: msgpack of plain values and arrays, which are named, shaped bytes.

Nothing that is read is ever run, and what is not as it should be is refused.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from robolearn.errors import DataError, SpecError, UserError
from robots.base import BusError, LostError, RobotError
from robots.guard import StopError

ARRAYS = ("|u1", "<f4", "<f8", "<i4", "<i8", "|b1")
ERRORS: dict[str, type[UserError]] = {
    kind.__name__: kind
    for kind in (StopError, BusError, LostError, RobotError, SpecError, DataError)
}
ARRAY = "array"


def kind_of(name: str, feature: type | tuple[int, int, int]) -> str | list[int]:
    """Say what a feature is, "float" or an image's shape; RobotError for what cannot be sent."""
    if isinstance(feature, tuple):
        return list(feature)
    if feature is float:
        return "float"
    raise _neither(name)


def feature(name: str, kind: Any) -> type | tuple[int, int, int]:
    """Give a feature of which ``kind_of`` has said what it is."""
    if isinstance(kind, list):
        return tuple(kind)
    if kind == "float":
        return float
    raise _neither(name)


def _neither(name: str) -> RobotError:
    return RobotError(
        f"remote: '{name}' is neither a joint nor a camera, but what a simulation knows of its "
        "world; serve the robot without it (a twin: world=desk)"
    )


def pack(message: dict[str, Any]) -> bytes:
    """Give a message's bytes."""
    return _msgpack().packb(message, default=_plain)


def unpack(data: bytes) -> dict[str, Any]:
    """Read a message; DataError for what is none."""
    try:
        message = _msgpack().unpackb(data, object_hook=_array, strict_map_key=True)
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"not a message: {error}") from None
    except _msgpack().exceptions.UnpackException as error:
        raise DataError(f"not a message: {type(error).__name__}") from None
    if not isinstance(message, dict):
        raise DataError(f"not a message: {type(message).__name__} instead of a mapping")
    return message


def _plain(value: Any) -> Any:
    """Give what msgpack knows in place of a value of numpy's."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.str in ARRAYS:
        data = np.ascontiguousarray(value).tobytes()
        return {ARRAY: value.dtype.str, "shape": list(value.shape), "data": data}
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _array(values: dict[str, Any]) -> Any:
    if ARRAY not in values:
        return values
    kind, shape, data = values[ARRAY], values["shape"], values["data"]
    if kind not in ARRAYS or not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError(f"array of {kind}, shape {shape}")
    if len(data) != np.dtype(kind).itemsize * math.prod(shape):
        raise ValueError(f"array of shape {shape} with {len(data)} bytes")
    return np.frombuffer(data, kind).reshape(shape)


def _msgpack() -> Any:
    try:
        import msgpack
    except ImportError:
        raise RobotError(
            "a remote robot needs the package msgpack: pip install msgpack, or 'robolearn[remote]'"
        ) from None
    return msgpack
