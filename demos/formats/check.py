"""Is what was written what was read? Field by field, over all episodes."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from demos.data.episode_file import to_json
from demos.formats import guess
from demos.formats.contract import Source
from robolearn.types import Episode

FLAGS = ("terminated", "truncated", "success")


@dataclass
class Difference:
    """How far a field is from what it was, at most and in the mean over the episodes."""

    largest: float = 0.0
    mean: float = 0.0
    episodes: int = 0


@dataclass(frozen=True)
class Check:
    """What a round trip kept, over ``episodes`` of them."""

    episodes: int
    exact: list[str]
    different: dict[str, Difference] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    lossy: frozenset[str] = frozenset()  # fields of which no more was promised

    @property
    def is_kept(self) -> bool:
        """Whether all is there, and the same unless it is kept with loss."""
        return not self.absent and self.different.keys() <= self.lossy

    @property
    def is_exact(self) -> bool:
        """Whether nothing is different or absent."""
        return not self.different and not self.absent

    def lines(self) -> list[str]:
        """Put it in lines to print."""
        said = [f"read back: {self.episodes} episodes; exact: {', '.join(self.exact) or 'nothing'}"]
        for name, one in self.different.items():
            why = " (lossy video)" if name in self.lossy else ""
            said.append(
                f"  not exact{why}: {name}, by {one.largest:.3g} at most, {one.mean:.3g} in the "
                f"mean, in {one.episodes} episodes"
            )
        return said + [f"  absent: {name}" for name in self.absent]


def check_round_trip(
    source: Source, names: list[str], target: Path, lossy: Collection[str] = ()
) -> Check:
    """Read ``target`` back, and hold every episode against that of ``source``.

    Fields that are ``lossy`` need not be the same.
    """
    again = guess.open_source(target)
    fields: set[str] = set()
    different: dict[str, Difference] = {}
    absent: set[str] = set()
    try:
        if len(again.names) != len(names):
            absent.add(f"{len(names) - len(again.names)} episodes")
        for name, there in zip(names, again.names, strict=False):
            ours, theirs = _fields(source.load(name)), _fields(again.load(there))
            fields |= ours.keys()
            for what, value in ours.items():
                if what not in theirs:
                    absent.add(what)
                elif (gap := _gap(value, theirs[what])) is not None:
                    one = different.setdefault(what, Difference())
                    one.largest = max(one.largest, gap[0])
                    one.mean = (one.mean * one.episodes + gap[1]) / (one.episodes + 1)
                    one.episodes += 1
    finally:
        again.close()
    exact = sorted(fields - different.keys() - absent)
    kept = frozenset(lossy)
    return Check(len(names), exact, dict(sorted(different.items())), sorted(absent), kept)


def last_of(name: str) -> str:
    """Name the field of an observation's last row."""
    return f"{name} after the last action"


def _fields(episode: Episode) -> dict[str, Any]:
    """Name all that an episode holds; the last observation is a field of its own."""
    found: dict[str, Any] = {"actions": episode.actions, "rewards": episode.rewards}
    for name, array in episode.observations.items():
        found[name] = array[:-1]
        found[last_of(name)] = array[-1:]
    if episode.states is not None:
        found["states"] = episode.states
    found |= {f"reward terms: {name}": a for name, a in episode.reward_terms.items()}
    found |= {f"records: {name}": a for name, a in episode.records.items()}
    found |= {flag: np.array(getattr(episode, flag)) for flag in FLAGS}
    metadata = {k: v for k, v in episode.metadata.items() if k != "source"}
    return found | {"metadata": json.loads(to_json(metadata))}


def _gap(ours: Any, theirs: Any) -> tuple[float, float] | None:
    """Give the largest and the mean difference; None where there is none at all."""
    if isinstance(ours, Mapping):
        return None if ours == theirs else (float("nan"), float("nan"))
    if ours.shape != theirs.shape:
        return float("inf"), float("inf")
    if ours.dtype == theirs.dtype and np.array_equal(
        ours, theirs, equal_nan=ours.dtype.kind == "f"
    ):
        return None
    gap = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
    return float(gap.max()), float(gap.mean())
