"""What stands beside a LeRobot dataset, examined and repaired: ``robolearn/rest.hdf5``.

Its groups are called by the episodes' numbers. A repair that gives new numbers takes each group
along, or, if one does not belong to its episode, leaves all of it to ``lost/``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import pyarrow

from demos.formats import hdf5, rest
from demos.formats import lerobot_layout as layout
from demos.formats.contract import Told
from demos.formats.faults import one_line
from demos.formats.lerobot import ACTION, REST, SUCCESS
from demos.formats.lerobot_layout import Info, Row
from robolearn.errors import DataError


class Beside:
    """The file of a dataset, if it has one; ``fault`` says why none of it can be used, or ""."""

    def __init__(self, info: Info) -> None:
        """Open it."""
        self._info, self._path, self.fault = info, info.path / REST, ""
        self._file: h5py.File | None = None
        if self._path.parent.is_dir():
            try:
                self._file = hdf5.opened(self._path, "what this project wrote")
                with one_line(self._path):
                    rest.about(self._file, str(self._path))
            except DataError as error:
                self.fault = str(error)

    def examine(self, row: Row, table: pyarrow.Table) -> None:
        """Note as ``fault`` if the group of a whole episode is missing, or another one's."""
        if self._file is None or self.fault:
            return
        name, features = f"demo_{row.number}", self._info.features
        where = f"{self._path}: {name}"
        columns = {
            key: layout.numbers(table[key], features[key], where)
            for key in (ACTION, SUCCESS)
            if key in features and key in table.column_names
        }
        success = bool(columns[SUCCESS].any()) if SUCCESS in columns else None
        try:
            with one_line(where):
                group = hdf5.group(hdf5.group(self._file, name, where), rest.GROUP, where)
                rest.require_belongs(group, Told({}, columns[ACTION], success=success), where)
        except DataError as error:
            self.fault = str(error)

    def copy(self, rows: Sequence[Row], folder: Path) -> None:
        """Write the groups of ``rows`` below ``folder``, numbered anew; no file if unfit."""
        if not self._path.parent.is_dir():
            return
        target = folder / REST
        target.parent.mkdir()
        if self._file is None or self.fault:
            return
        with h5py.File(target, "w") as file:
            file.attrs[rest.GROUP] = self._file.attrs[rest.GROUP]
            for number, row in enumerate(rows):
                self._file.copy(f"demo_{row.number}", file, name=f"demo_{number}")

    def close(self) -> None:
        """Close what is open."""
        if self._file is not None:
            self._file.close()
