"""Read a dataset once, episode by episode, and keep what was measured, not what was read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from demos.formats.contract import Source
from demos.report.likeness import Nearest, Starts, nearest_of, starts_of
from demos.report.measures import Measured, measure
from demos.report.operators import NOBODY, Collected, Compatibility, compare
from demos.report.scales import Scales, loaded, settle
from robolearn.errors import DataError
from robolearn.running.counter import Counter


@dataclass(frozen=True)
class Quality:
    """All that is known of a dataset."""

    name: str
    format: str
    scales: Scales
    found: Sequence[Measured]
    unreadable: dict[str, str]  # name -> why
    notes: tuple[str, ...]
    compatibility: Compatibility = field(default_factory=Compatibility)
    nearest: Sequence[Nearest | None] = ()
    starts: Starts | None = None

    @cached_property
    def operators(self) -> dict[str, list[Measured]]:
        """Give the episodes by operator, in the order in which they first come."""
        groups: dict[str, list[Measured]] = {}
        for one in self.found:
            groups.setdefault(one.operator or NOBODY, []).append(one)
        return groups

    @property
    def rate_hz(self) -> float:
        """Give the control rate, or 0 where nobody knows it."""
        return 1.0 / self.scales.period_s if self.scales.period_s else 0.0

    @property
    def unit_of_jerk(self) -> str:
        """Name it: "m/s³"."""
        top = self.scales.motion.unit or "1"
        return f"{top}/s³" if self.scales.period_s else f"{top}/step³"


def look_at(source: Source, base: str | None = None, images: bool = True) -> Quality:
    """Measure every episode of a dataset, each read once more after the few that set the scales.

    Raises DataError if none can be read, or ``base`` is neither an operator nor a mask.
    """
    scales = settle(source)
    found, unreadable, collected = [], {}, Collected()
    with Counter(len(source.names), "measuring", "episodes") as bar:
        for name in source.names:
            try:
                episode = loaded(source, name, images)
            except DataError as error:
                unreadable[name] = str(error)
            else:
                one = measure(name, episode, scales)
                found.append(one)
                collected.add(name, one.operator or NOBODY, episode)
            bar.update()
    if not found:
        raise DataError(f"{source.path}: no episode can be read: {next(iter(unreadable.values()))}")
    return Quality(
        source.path.name,
        source.format,
        scales,
        found,
        unreadable,
        tuple(source.notes),
        compare(collected, source.interface, source.masks, base),
        nearest_of(found, scales),
        starts_of(found, scales),
    )
