"""One episode in one HDF5 file, in robomimic's group layout, and back without any loss.

``/data/demo_0`` is what robomimic knows: ``actions`` [T, A], ``rewards`` [T], ``dones`` [T],
``obs/*`` and ``next_obs/*`` [T, ...], ``states`` [T, D], and the attribute ``num_samples``.
Beside it, ``episode/`` holds what robomimic has no place for: the observations with their last row
[T + 1, ...], the full simulator states [T + 1, S], the reward terms, and under ``records`` what
else was noted at each step [T, ...]: of a person's demonstration ``action_asked`` [T, A]
(``actions`` are those sent), ``input_s``, ``asked_s``, ``sent_s`` (seconds since it began),
``engaged`` and ``intervention``. ``obs``, ``next_obs`` and ``states`` are virtual datasets, that
is, windows on those arrays: nothing is stored twice. So are the keys that robomimic's
configurations ask for (``robomimic_keys.py``): columns of ``"state"``.

``states`` shows the first D = ``metadata["mujoco_state_size"]`` entries (time, qpos, qvel: what
robomimic means by a state), all S where the metadata do not say. ``dones`` is 1 where the task
ended (``terminated``), not where time ran out, since robomimic bootstraps with ``1 - dones``.

Files are written once and never changed, but replaced as a whole: by ``doctor --repair``, those of
earlier versions; by ``Dataset.amend``, those whose metadata say something new. A checksum over the
content is verified on every load; records have one of their own, so that versions that do not know
them read such files, too.
"""

import dataclasses
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np

from demos.data.mp4 import Clip
from demos.data.robomimic_keys import STATE
from robolearn.errors import DataError
from robolearn.types import Episode

FORMAT = "robolearn-episode-1"
WITH_VIDEO = "robolearn-episode-2"  # which earlier versions refuse
DEMO = "/data/demo_0"
OBSERVATIONS, RECORDS, VIDEOS = "episode/observations", "episode/records", "episode/videos"
ROBOMIMIC_ATTRIBUTES = ("model_file", "ep_meta")  # metadata that robomimic keeps as attributes
FLAGS = ("terminated", "truncated", "success")
DAMAGE = (OSError, KeyError, ValueError, RuntimeError, DataError, av.FFmpegError)
HINT = "move it away, and the others can be used, or bring back a copy that is whole"


class EpisodeFileError(DataError):
    """A file holds no whole episode.

    ``status`` is "missing", "truncated", "damaged" or "foreign".
    """

    def __init__(self, path: Path, status: str, detail: str) -> None:
        super().__init__(path, status, detail)  # all of them: it must get out of a worker process
        self.path = path
        self.status = status
        self.detail = detail

    def __str__(self) -> str:
        hint = "" if self.status == "missing" else f"; {HINT}"
        return f"{self.path} is {self.status}: {self.detail}{hint}"


def encode(
    episode: Episode,
    env_args: Mapping[str, Any],
    keys: Mapping[str, Sequence[int]],
    clips: Mapping[str, Clip] | None = None,
) -> bytes:
    """Give the content of the file; ``env_args`` is robomimic's description of the environment.

    ``keys`` are those that it asks for, and the columns [n] of ``"state"`` that each shows;
    ``clips`` are the cameras that are kept as video, whatever the episode has of them. The content
    is made in memory, since HDF5 cannot recover from a disk that fills up while it writes. Raises
    DataError when the metadata are not JSON-able.
    """
    clips = dict(clips or {})
    vectors = {name: a for name, a in episode.observations.items() if name not in clips}
    episode = dataclasses.replace(episode, observations=vectors)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["format"] = WITH_VIDEO if clips else FORMAT
        demo = file.create_group(DEMO)
        demo.parent.attrs.update(total=len(episode), env_args=to_json(env_args))
        _write_attributes(demo, episode, clips)
        for name, array in (_arrays(episode) | _records(episode)).items():
            demo.create_dataset(name, data=array, **_compression(array))
        _write_clips(demo, clips)
        demo["dones"] = _last_only(episode.terminated, len(episode)).astype(np.int64)
        _write_windows(demo, episode, keys)
    return buffer.getvalue()


def read_episode(path: Path) -> Episode:
    """Read the whole episode; raises EpisodeFileError that names the file and what is wrong."""
    episode, clips = read_stored(path)
    frames = {}
    for name, clip in clips.items():
        try:
            frames[name] = clip.frames(f"its video of {name}")
        except DAMAGE as error:
            detail = str(error).splitlines()[0]
            raise EpisodeFileError(path, "damaged", detail) from error
    observations = dict(sorted((episode.observations | frames).items()))
    return dataclasses.replace(episode, observations=observations)


def read_stored(path: Path) -> tuple[Episode, dict[str, Clip]]:
    """Read an episode without the cameras that are kept as video, and these as they lie.

    Raises EpisodeFileError as ``read_episode`` does.
    """
    with _demo(path) as demo:
        clips = _read_clips(demo)
        episode = Episode(
            observations=_read_tree(demo, OBSERVATIONS),
            actions=demo["actions"][()],
            rewards=demo["rewards"][()],
            states=demo["episode/states"][()] if "episode/states" in demo else None,
            reward_terms=_read_tree(demo, "episode/reward_terms"),
            metadata=_read_metadata(demo),
            records=_read_tree(demo, RECORDS),
            **{flag: bool(demo.attrs[flag]) for flag in FLAGS},
        )
        written = demo.attrs["checksum"], demo.attrs.get("records_checksum")
    if _checksums(episode, clips) != written:
        raise EpisodeFileError(path, "damaged", "its content changed after it was written")
    return episode, clips


def read_header(path: Path) -> tuple[int, bool, dict[str, Any]]:
    """Read only the number of actions, the success and the metadata."""
    with _demo(path) as demo:
        return int(demo.attrs["num_samples"]), bool(demo.attrs["success"]), _read_metadata(demo)


def observation_names(path: Path) -> set[str]:
    """Name what robomimic finds under ``obs`` and ``next_obs``, up to the first slash.

    A file may lack either group: they are windows, and no part of what the checksum is over.
    """
    with _demo(path) as demo:
        return set(demo.get("obs", ())) & set(demo.get("next_obs", ()))


def written_anew(path: Path, keys: Mapping[str, Sequence[int]]) -> bytes:
    """Give the content that the file would have with these ``keys`` (see ``encode``)."""
    episode, clips = read_stored(path)
    with _demo(path) as demo:
        env_args = json.loads(demo.parent.attrs["env_args"])
    return encode(episode, env_args, keys, clips)


def to_json(value: Any) -> str:
    """Write as JSON; numpy scalars and arrays become numbers and lists. Raises DataError."""
    try:
        return json.dumps(value, default=_plain)
    except (TypeError, ValueError) as error:
        raise DataError(f"cannot be kept as JSON: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{value!r} is a {type(value).__name__}")


@contextmanager
def _demo(path: Path) -> Iterator[h5py.Group]:
    """Open the episode's group; every way in which reading can fail becomes one error."""
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") not in (FORMAT, WITH_VIDEO):
                raise EpisodeFileError(path, "foreign", "this project did not write it")
            yield file[DEMO]
    except EpisodeFileError:
        raise
    except DAMAGE as error:
        detail = str(error).splitlines()[0]
        raise EpisodeFileError(path, _why_unreadable(path, detail), detail) from error


def _why_unreadable(path: Path, detail: str) -> str:
    if not path.exists():
        return "missing"
    if "truncated" in detail or not path.stat().st_size:
        return "truncated"
    return "damaged" if h5py.is_hdf5(path) else "foreign"


def _arrays(episode: Episode) -> dict[str, np.ndarray]:
    """Name every array that is stored, by its path below the episode's group."""
    arrays = {"actions": episode.actions, "rewards": episode.rewards}
    arrays |= {f"{OBSERVATIONS}/{k}": a for k, a in episode.observations.items()}
    arrays |= {f"episode/reward_terms/{k}": a for k, a in episode.reward_terms.items()}
    if episode.states is not None:
        arrays["episode/states"] = episode.states
    return arrays


def _records(episode: Episode) -> dict[str, np.ndarray]:
    return {f"{RECORDS}/{name}": array for name, array in episode.records.items()}


def _checksums(episode: Episode, clips: Mapping[str, Clip]) -> tuple[str, str | None]:
    """Digest all but the records, and the records if there are any."""
    digest = hashlib.blake2b(digest_size=16)
    _digest(digest, _records(episode))
    return _checksum(episode, clips), digest.hexdigest() if episode.records else None


def _checksum(episode: Episode, clips: Mapping[str, Clip]) -> str:
    """Digest arrays, videos as they lie, flags and metadata: 128 bits as hexadecimal text."""
    digest = hashlib.blake2b(digest_size=16)
    _digest(digest, _arrays(episode))
    for name, clip in sorted(clips.items()):
        digest.update(f"{VIDEOS}/{name} {clip.fps} {clip.shape}".encode())
        digest.update(clip.content)
    flags = [bool(getattr(episode, flag)) for flag in FLAGS]
    metadata = json.loads(to_json(episode.metadata))  # as they will be read
    digest.update(json.dumps([flags, metadata], sort_keys=True).encode())
    return digest.hexdigest()


def _digest(digest: Any, arrays: Mapping[str, np.ndarray]) -> None:
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)


def _write_clips(demo: h5py.Group, clips: Mapping[str, Clip]) -> None:
    for name, clip in clips.items():
        stored = demo.create_dataset(f"{VIDEOS}/{name}", data=np.frombuffer(clip.content, np.uint8))
        stored.attrs.update(fps=clip.fps.as_integer_ratio(), shape=clip.shape)


def _read_clips(demo: h5py.Group) -> dict[str, Clip]:
    return {name: _read_clip(name, stored) for name, stored in _tree(demo, VIDEOS).items()}


def _read_clip(name: str, stored: h5py.Dataset) -> Clip:
    try:
        fps = Fraction(*stored.attrs["fps"].tolist())
        shape = tuple(stored.attrs["shape"].tolist())
    except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise DataError(f"its video of {name} says neither rate nor shape") from error
    return Clip(stored[()].tobytes(), fps, shape)


def _write_attributes(demo: h5py.Group, episode: Episode, clips: Mapping[str, Clip]) -> None:
    demo.attrs["num_samples"] = len(episode)
    demo.attrs["checksum"], of_records = _checksums(episode, clips)
    if of_records is not None:
        demo.attrs["records_checksum"] = of_records
    for flag in FLAGS:
        demo.attrs[flag] = bool(getattr(episode, flag))
    ours = dict(episode.metadata)
    for name in ROBOMIMIC_ATTRIBUTES:
        if isinstance(ours.get(name), str):
            demo.attrs[name] = ours.pop(name)
    demo.attrs["metadata"] = to_json(ours)


def _read_metadata(demo: h5py.Group) -> dict[str, Any]:
    theirs = {name: demo.attrs[name] for name in ROBOMIMIC_ATTRIBUTES if name in demo.attrs}
    return json.loads(demo.attrs["metadata"]) | theirs


def _compression(array: np.ndarray) -> dict[str, Any]:
    """Compress camera images frame by frame, so that one frame can be read alone."""
    if array.dtype.kind in "iu" and array.ndim >= 3:
        return {"chunks": (1, *array.shape[1:]), "compression": "gzip", "compression_opts": 1}
    return {}


def _write_windows(demo: h5py.Group, episode: Episode, keys: Mapping[str, Sequence[int]]) -> None:
    steps = len(episode)
    rows = {"obs": range(steps), "next_obs": range(1, steps + 1)}
    for name in episode.observations:
        full = demo[f"{OBSERVATIONS}/{name}"]
        for group, shown in rows.items():
            _window(demo, f"{group}/{name}", full, shown)
            for key, columns in keys.items() if name == STATE else ():
                _window(demo, f"{group}/{key}", full, shown, columns)
    if episode.states is not None:
        size = episode.metadata.get("mujoco_state_size")
        columns = range(episode.states.shape[1])[:size]
        _window(demo, "states", demo["episode/states"], range(steps), columns)


def _window(
    demo: h5py.Group,
    name: str,
    full: h5py.Dataset,
    rows: range,
    columns: Sequence[int] | None = None,
) -> None:
    """Make ``name`` a virtual dataset that shows ``full[rows]``, or only these ``columns`` of it.

    By h5py's lower interface: the upper one takes 3 ms for each, which is long for so many.
    """
    size, begin = full.shape, (0,) * (full.ndim - 1)
    if columns is None:
        shape, pieces = (len(rows), *size[1:]), iter([(begin, begin, size[1:])])
    else:
        shape, pieces = (len(rows), len(columns)), _runs(columns)
    whole, space = h5py.h5s.create_simple(size), h5py.h5s.create_simple(shape)
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    for to, start, block in pieces:
        space.select_hyperslab((0, *to), (len(rows), *block))
        whole.select_hyperslab((rows.start, *start), (len(rows), *block))
        creation.set_virtual(space, b".", full.name.encode(), whole)  # ".": in this same file
    path = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    path.set_create_intermediate_group(True)
    h5py.h5d.create(demo.id, name.encode(), full.id.get_type(), space, creation, path)


def _runs(columns: Sequence[int]) -> Iterator[tuple[tuple[int], tuple[int], tuple[int]]]:
    """Split columns into runs of neighbours: place among them, first column, length."""
    at = 0
    for i in range(1, len(columns) + 1):
        if i == len(columns) or columns[i] != columns[i - 1] + 1:
            yield (at,), (columns[at],), (i - at,)
            at = i


def _read_tree(demo: h5py.Group, root: str) -> dict[str, np.ndarray]:
    """Read all arrays below ``root``."""
    return {name: stored[()] for name, stored in _tree(demo, root).items()}


def _tree(demo: h5py.Group, root: str) -> dict[str, h5py.Dataset]:
    """Name all that is stored below ``root``; a name with slashes has become nested groups."""
    found: dict[str, h5py.Dataset] = {}

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item

    if root in demo:
        demo[root].visititems(visit)
    return found


def _last_only(value: bool, steps: int) -> np.ndarray:
    """Give bool [T], ``value`` at the last step and False before it."""
    return np.arange(steps) == steps - 1 if value else np.zeros(steps, bool)
