"""Episodes as MCAP files, one for each, to be looked at with tools for robot logs (Foxglove, ...).

Messages and their schemas are JSON. Of an episode of T actions, at t periods after its beginning:

    /observation/NAME        T + 1 vectors: a number for each named entry, else "values"
    /camera/NAME             T + 1 images, foxglove.CompressedImage: JPEG, or PNG where asked for
    /action, /reward         T; the reward's terms beside its "total"
    /record/NAME             T, whatever else was noted
    /simulator_state         T + 1, "values"

The metadata record "episode" says how it ended; the attachment ``interface.json`` what the entries
are. Numbers are written so that the same are read back; JSON knows no NaN, which becomes null.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from demos.data.episode_file import to_json
from demos.data.index import Masks
from demos.data.mp4 import is_colour
from demos.formats import video
from demos.formats.parts import link
from demos.formats.rate import overruled, rate_hz
from robolearn.errors import DataError
from robolearn.files import write_atomically
from robolearn.types import ArraySpec, Episode, Spec
from robolearn.viz.entries import jpeg

EXTRA = "format=mcap needs the package mcap: pip install mcap, or 'robolearn[mcap]'"
INDEX = "index.json"
JSON, SCHEMA = "json", "jsonschema"
NANOSECONDS = 1_000_000_000
IMAGE = "foxglove.CompressedImage"
STAMP = {
    "type": "object",
    "title": "time",
    "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}},
}
NUMBER, NUMBERS = {"type": "number"}, {"type": "array", "items": {"type": "number"}}
TEXT = {"type": "string"}
Message = dict[str, Any]


class McapWriter:
    """Writes a folder of MCAP files; see ``contract.Writer``. It is not read back."""

    suffix = ".mcap"

    def __init__(
        self,
        interface: Spec,
        env_options: Mapping[str, Any],
        images: str | None = None,
        fps: float | None = None,
    ) -> None:
        """Keep cameras as JPEG, or as PNG where ``images`` asks for no loss: not None or "video".

        Raises DataError where the package is not installed, or nobody knows the rate.
        """
        if find_spec("mcap") is None:
            raise DataError(EXTRA)
        self._period_s = 1.0 / rate_hz(interface, fps)
        self._interface, self._options = interface, dict(env_options)
        self._exact = images not in (None, "video")
        self.held = {"masks of demonstrations, options of the environment": INDEX}
        self.held |= overruled(interface, fps, "the attachment interface.json")

    def part(self, path: Path, episode: Episode) -> None:
        """Write an episode's file."""
        from mcap.writer import Writer

        with path.open("wb") as file:
            writer = Writer(file)
            writer.start(library="robolearn")
            told = list(self._topics(episode))
            topics = dict(told)
            if len(topics) < len(told):
                raise DataError("two observations or records have the same name once '.' is '/'")
            channels = {name: _channel(writer, name, *about) for name, (about, _) in topics.items()}
            rows = {name: iter(messages) for name, (_, messages) in topics.items()}
            for step in range(len(episode) + 1):
                self._write(writer, step, channels, rows)
            writer.add_metadata("episode", _about(episode))
            interface = self._interface.to_json().encode()
            writer.add_attachment(0, 0, "interface.json", "application/json", interface)
            writer.finish()

    def join(self, parts: list[Path], folder: Path, names: list[str], masks: Masks) -> list[str]:
        """Name the files; the index comes last."""
        files = [f"{name}{self.suffix}" for name in names]
        for part, file in zip(parts, files, strict=True):
            link(part, folder / file)
        about = {"episodes": files, "masks": masks, "env_options": self._options}
        write_atomically(folder / INDEX, to_json(about).encode())
        return [*files, INDEX]

    def _write(
        self,
        writer: Any,
        step: int,
        channels: Mapping[str, int],
        rows: Mapping[str, Iterator[Message]],
    ) -> None:
        """Write what there is of a step, each topic's next message."""
        time_ns = round(step * self._period_s * NANOSECONDS)
        stamp = {"sec": time_ns // NANOSECONDS, "nsec": time_ns % NANOSECONDS}
        for name, channel in channels.items():
            message = next(rows[name], None)
            if message is not None:
                data = json.dumps({"timestamp": stamp} | message, allow_nan=False).encode()
                writer.add_message(channel, time_ns, data, time_ns, step)

    def _topics(
        self, episode: Episode
    ) -> Iterator[tuple[str, tuple[tuple[str, Message], Iterator[Message]]]]:
        """Give each topic's schema, by name and properties, and its messages in order."""
        for name, spec in self._interface.observations.items():
            array = episode.observations[name]
            if is_colour(spec):
                yield _topic("camera", name), (_image_schema(), self._images(name, array))
            else:
                yield _topic("observation", name), _vectors(f"observation.{name}", array, spec)
        yield "/action", _vectors("action", episode.actions, self._interface.action)
        rewards = {"total": episode.rewards, **episode.reward_terms}
        schema = ("reward", {name: NUMBER for name in rewards})
        rows = ({k: _number(a[t]) for k, a in rewards.items()} for t in range(len(episode)))
        yield "/reward", (schema, rows)
        for name, array in episode.records.items():
            yield _topic("record", name), _vectors(f"record.{name}", array)
        if episode.states is not None:
            yield "/simulator_state", _vectors("simulator_state", episode.states)

    def _images(self, name: str, frames: np.ndarray) -> Iterator[Message]:
        encode, kind = (video.png, "png") if self._exact else (jpeg, "jpeg")
        for frame in frames:
            data = base64.b64encode(encode(frame)).decode()
            yield {"frame_id": name, "format": kind, "data": data}


def _topic(kind: str, name: str) -> str:
    """Name a topic: there may be no dot in it."""
    return f"/{kind}/{name.replace('.', '/')}"


def _vectors(
    title: str, array: np.ndarray, spec: ArraySpec | None = None
) -> tuple[tuple[str, Message], Iterator[Message]]:
    """Give the schema and the messages of rows [T, ...], by the names of their entries."""
    rows = array.reshape(len(array), -1)
    names = spec.names if spec is not None else ()
    if not names or "timestamp" in names:
        return (title, {"values": NUMBERS}), ({"values": [*map(_number, row)]} for row in rows)
    messages = (dict(zip(names, map(_number, row), strict=True)) for row in rows)
    return (title, {name: NUMBER for name in names}), messages


def _image_schema() -> tuple[str, Message]:
    data = {"type": "string", "contentEncoding": "base64"}
    return IMAGE, {"frame_id": TEXT, "data": data, "format": TEXT}


def _channel(writer: Any, topic: str, title: str, properties: Message) -> int:
    """Register a topic; give the number of its channel."""
    schema = {"type": "object", "title": title, "properties": {"timestamp": STAMP} | properties}
    number = writer.register_schema(title, SCHEMA, json.dumps(schema).encode())
    return writer.register_channel(topic, JSON, number)


def _about(episode: Episode) -> dict[str, str]:
    """Say how an episode ended and what else is known of it, as texts."""
    flags = {name: getattr(episode, name) for name in ("success", "terminated", "truncated")}
    told = {name: str(value).lower() for name, value in flags.items()}
    return told | {"steps": str(len(episode)), "metadata": to_json(episode.metadata)}


def _number(value: Any) -> float | int | None:
    """Give a number as JSON has it; None for what it has not."""
    plain = value.item()
    return plain if np.isfinite(plain) else None
