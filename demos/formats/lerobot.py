"""LeRobot's datasets, v3.0 and v2.x, as episodes.

``observation.state`` is "state", ``observation.images.CAMERA`` the camera, another
``observation.NAME`` is NAME, a feature that is no observation a record. Images are decoded at the
time stamps that the table says. Actions that leave [-1, 1] are brought there by the least and
greatest values that the dataset itself states (``meta/stats.json``).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow

from demos.formats import hdf5, rest, video
from demos.formats import lerobot_layout as layout
from demos.formats.contract import Reading, Told
from demos.formats.faults import one_line, read_json, read_lines
from demos.formats.lerobot_layout import AUTOMATIC, Feature, Info, Row
from demos.formats.terms import About, first_whole, settle
from robolearn.errors import DataError, nearest
from robolearn.types import Episode

ACTION, STATE, IMAGES, OBSERVATION = (
    "action", "observation.state", "observation.images.", "observation.",
)  # fmt: skip
REWARD, DONE, SUCCESS, TRUNCATED = "next.reward", "next.done", "next.success", "next.truncated"
REST = "robolearn/rest.hdf5"


class LerobotSource:
    """A LeRobot dataset; see ``contract.Source``."""

    format = "lerobot"

    def __init__(self, path: Path, reading: Reading) -> None:
        """Read its index; raises DataError for what is no such dataset, empty or damaged."""
        self.path, self._rest = path, None
        with one_line(path):
            self._info = layout.read_info(path)
            self._rows = {f"demo_{row.number}": row for row in layout.read_rows(self._info)}
            self._require_usual()
            self.names, self.masks = tuple(self._rows), {}
            if not self.names:
                raise DataError(f"{path} holds no episodes")
            self._starts = starts_of(self._rows.values())
            self._tables = Tables(self._info)
            if (path / REST).is_file():
                self._rest = hdf5.opened(path / REST, "what this project wrote")
                ours = rest.about(self._rest, str(path / REST))
                if ours is not None:
                    (self.interface, self.env_options), self.notes = ours, reading.unused()
                    self._keys = {name: key for key, name in self._named(self.interface)}
                    return
            self.env_options = {}
            self._keys = _keys(self._observed(), str(path))
            first = first_whole(self.names, lambda name: self._told(name, True), str(path))
            self._terms = settle(first, self._about(reading), reading)
            self.interface = self._terms.interface
            self.notes = self._terms.notes + reading.undrawn() + self._left_out()

    def load(self, name: str, images: bool = True) -> Episode:
        """Read one episode; DataError says what is wrong with it."""
        where = f"{self.path}: {name}"
        with one_line(where):
            told = self._told(name, images)
            if self._rest is not None:
                group = hdf5.group(self._rest, name, str(self.path / REST))
                return rest.whole(group, told, self.interface, where, images)
            return self._terms.episode(told, where, images)

    def close(self) -> None:
        """Close what is open."""
        self._tables.close()
        if self._rest is not None:
            self._rest.close()

    def _require_usual(self) -> None:
        features = self._info.features
        if ACTION not in features:
            raise DataError(f"{self.path} has no feature 'action'{nearest(ACTION, features)}")
        total = self._info.raw.get("total_episodes")
        if total != len(self._rows):
            raise DataError(
                f"{self.path}: info.json counts {total} episodes, the index has {len(self._rows)}: "
                "robolearn doctor says what is whole"
            )

    def _observed(self) -> list[Feature]:
        return [
            feature
            for name, feature in self._info.features.items()
            if is_image(feature) or (name.startswith(OBSERVATION) and feature.is_numeric)
        ]

    def _left_out(self) -> tuple[str, ...]:
        known = {f.name for f in self._observed()}
        out = [
            name
            for name, feature in self._info.features.items()
            if name not in known and name not in AUTOMATIC and not feature.is_numeric
        ]
        said = [f"left out: {', '.join(out)} (no numbers, no colour images)"] if out else []
        if several := [name for name, row in self._rows.items() if len(row.tasks) > 1]:
            said.append(f"{several[0]} has several tasks: the first is its task, all are its tasks")
        return tuple(said)

    def _about(self, reading: Reading) -> About:
        features, info = self._info.features, self._info
        entries = {self._keys[f.name]: f.names for f in self._observed() if f.names}
        limits = self._limits() if reading.limits is None else None
        return About(
            str(self.path),
            period_s=1.0 / info.fps,
            robot=str(info.raw.get("robot_type") or ""),
            entries=entries,
            action_names=features[ACTION].names,
            limits=limits,
            who="its stats (least and greatest of the data)",
        )

    def _limits(self) -> tuple[Any, Any] | None:
        """Give the least and greatest actions that the dataset states, unless they are in range."""
        stats = _range_of_actions(self._info)
        if stats is None or (np.min(stats[0]) >= -1.0 and np.max(stats[1]) <= 1.0):
            return None
        return stats

    def _named(self, interface: Any) -> list[tuple[str, str]]:
        return [
            (name, feature_of(name, spec.shape)) for name, spec in interface.observations.items()
        ]

    def _told(self, name: str, images: bool) -> Told:
        where, row = f"{self.path}: {name}", self._rows[name]
        left_out = () if images else {f.name for f in self._observed() if is_image(f)}
        table = self._tables.rows(row, self._starts.get(row.file, 0), left_out)
        require_in_order(table, row, where)
        for key, feature in self._info.features.items():
            if feature.is_numeric and key not in table.column_names:
                raise DataError(f"{where} has no column '{key[:60]}'")
        columns = {
            key: layout.numbers(table[key], feature, where)
            for key, feature in self._info.features.items()
            if feature.is_numeric
        }
        times = columns.pop("timestamp", None)
        times = np.arange(row.length) / self._info.fps if times is None else times
        observations = {}
        for feature in self._observed():
            if feature.name not in self._keys:
                continue
            if is_image(feature):
                if images:
                    frames = self._frames(feature, row, table, times, where)
                    observations[self._keys[feature.name]] = frames
            elif feature.name in columns:
                observations[self._keys[feature.name]] = columns.pop(feature.name)
        done, cut = columns.pop(DONE, None), columns.pop(TRUNCATED, None)
        success = columns.pop(SUCCESS, None)
        ended = None if done is None else bool(done[-1]) and not (cut is not None and cut[-1])
        records = {k: a for k, a in columns.items() if k not in (*AUTOMATIC, ACTION, REWARD)}
        if np.abs(times - np.arange(row.length) / self._info.fps).max() > video.TOLERANCE_S:
            records["timestamp"] = times
        return Told(
            observations,
            columns[ACTION],
            columns.get(REWARD),
            ended,
            None if cut is None else bool(cut[-1]),
            success=None if success is None else bool(success.any()),
            metadata=_tasks(row),
            records=records,
        )

    def _frames(
        self, feature: Feature, row: Row, table: pyarrow.Table, times: np.ndarray, where: str
    ) -> np.ndarray:
        size = feature.shape[:2]
        if feature.dtype == "image":
            values = table[feature.name]
            return np.stack(
                [video.image(value.as_py(), size, f"{where}: {feature.name}") for value in values]
            )
        clip = row.clips[feature.name]
        file = layout.inside_of(self._info, clip.file)
        return video.decode(file, clip.start_s + times.astype(np.float64), size, where)


class Tables:
    """The data files, one open at a time; of it, the row groups that an episode needs."""

    def __init__(self, info: Info) -> None:
        self._info, self._name, self._file = info, None, None
        self._ends: list[int] = []
        self._held: tuple[object, pyarrow.Table | None] = (None, None)  # what was read last

    def rows(self, row: Row, start: int, left_out: Collection[str] = ()) -> pyarrow.Table:
        """Give an episode's rows, without the columns that are ``left_out``.

        Its file begins at row ``start`` of the whole dataset.
        """
        if self._name != row.file:
            self.close()
            self._file = layout.table_file(layout.inside_of(self._info, row.file))
            about = self._file.metadata
            sizes = [about.row_group(i).num_rows for i in range(about.num_row_groups)]
            self._ends, self._name = np.cumsum(sizes).tolist(), row.file
        first = 0 if row.first is None else row.first - start
        last = first + row.length
        groups = [
            i
            for i, end in enumerate(self._ends)
            if end > first and (self._ends[i - 1] if i else 0) < last
        ]
        have = self._ends[-1] if self._ends else 0
        if not groups or have < last:
            raise DataError(
                f"{self._info.path / row.file} has {have} rows; episode {row.number} needs {last}"
            )
        if row.first is None and have > last:
            raise DataError(
                f"{self._info.path / row.file} has {have} rows, the index says {row.length}"
            )
        begins = self._ends[groups[0] - 1] if groups[0] else 0
        return self._read(groups, left_out).slice(first - begins, row.length)

    def _read(self, groups: Sequence[int], left_out: Collection[str]) -> pyarrow.Table:
        """Read row groups unless they are still held: one may have all episodes of a file."""
        key = (self._name, list(groups), set(left_out))
        if self._held[0] != key:
            self._held = (None, None)
            columns = [c for c in self._file.schema_arrow.names if c not in left_out]
            self._held = (key, self._file.read_row_groups(groups, columns=columns))
        return self._held[1]

    def close(self) -> None:
        """Close the file that is open."""
        if self._file is not None:
            self._file.close()
        self._name = self._file = None
        self._held = (None, None)


def feature_of(name: str, shape: Sequence[int]) -> str:
    """Name the feature that holds an observation of ours."""
    plain = name.replace("/", ".")
    if len(shape) == 3:
        return IMAGES + plain
    return OBSERVATION + plain


def _tasks(row: Row) -> dict[str, Any]:
    """Give an episode's task, and all of them where there are several."""
    several = {"tasks": list(row.tasks)} if len(row.tasks) > 1 else {}
    return ({"task": row.tasks[0]} if row.tasks else {}) | several


def _keys(features: Sequence[Feature], where: str) -> dict[str, str]:
    """Name the observation that each feature is here.

    Where a camera has the name of a vector, it keeps the ``images.`` before it.
    """
    found: dict[str, str] = {}
    for feature in sorted(features, key=is_image):
        name = _ours(feature)
        if name in found.values():
            name = feature.name.removeprefix(OBSERVATION)
        if name in found.values():
            raise DataError(f"{where}: two features would both be the observation {name[:60]!r}")
        found[feature.name] = name
    return {feature.name: found[feature.name] for feature in features}


def _ours(feature: Feature) -> str:
    """Name the observation that a feature is here."""
    name = feature.name
    for prefix in (IMAGES, OBSERVATION):
        if name.startswith(prefix) and len(name) > len(prefix):
            return name[len(prefix) :]
    return name


def is_image(feature: Feature) -> bool:
    """Say whether a feature is a colour camera's."""
    return feature.is_camera and len(feature.shape) == 3 and feature.shape[2] == 3


def starts_of(rows: Any) -> dict[str, int]:
    """Give the row of the whole dataset at which each data file begins."""
    starts: dict[str, int] = {}
    for row in rows:
        if row.first is not None:
            starts[row.file] = min(row.first, starts.get(row.file, row.first))
    return starts


def require_in_order(table: pyarrow.Table, row: Row, where: str) -> None:
    """Raise DataError unless these are the rows of this episode, in order."""
    if len(table) != row.length:
        raise DataError(f"{where} has {len(table)} rows instead of {row.length}")
    wanted = {"episode_index": np.full(row.length, row.number), "frame_index": range(row.length)}
    for name, right in wanted.items():
        if name in table.column_names:
            values = table[name].to_numpy()
            if not np.array_equal(values, np.asarray(right)):
                raise DataError(f"{where}: {name} is {values[0]}, ..., not that of this episode")


def _range_of_actions(info: Info) -> tuple[np.ndarray, np.ndarray] | None:
    """Give the least and greatest actions that the dataset states; None where it states none."""
    path = info.path / layout.STATS
    if path.is_file():
        stated = [read_json(path)]
    else:
        path = info.path / layout.STATS_V2
        stated = [one.get("stats", {}) for one in read_lines(path)] if path.is_file() else []
    if not stated or not all(ACTION in one for one in stated):
        return None
    rows = np.empty((2, len(stated), math.prod(info.features[ACTION].shape)))
    try:
        for i, one in enumerate(stated):
            for row, which in zip(rows, ("min", "max"), strict=True):
                row[i] = np.reshape(one[ACTION][which], rows.shape[2])
    except (KeyError, TypeError, ValueError):
        wanted = f"the least and greatest of {rows.shape[2]} action entries"
        raise DataError(f"{path} does not say {wanted}; limits=[low, high] does") from None
    return rows[0].min(axis=0), rows[1].max(axis=0)
