"""What a format is: a Source gives episodes of a file or folder, a Writer makes one of episodes.

A Source opens without reading the data, and gives one episode at a time. What it finds is brought
to our terms in one place (``terms.py``), from what the format says (``Told``).

A Writer writes each episode as a part, whole or not at all, and joins the parts when all are
there: so a conversion can be stopped anywhere and goes on where it was. What the format has no
place for goes beside it, under ``robolearn`` (``rest.py``), where its own readers do not look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import pydantic

from demos.data.index import Masks
from robolearn.settings import Names, Settings
from robolearn.types import Episode, Spec


def _several(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


Limit = Annotated[tuple[float, ...], pydantic.BeforeValidator(_several)]
OneOrMore = pydantic.BeforeValidator(_several)
TERMS = ("obs", "limits", "clip", "quaternions")  # settings of what a source says
DRAWN = ("recompute", "cameras", "image_size")  # settings of what a simulator computes
RECORDED = "only observations of robosuite's files are computed"


@dataclass(frozen=True)
class Reading(Settings):
    """How others' data are brought to our terms."""

    obs: Annotated[Names, OneOrMore] | None = None
    """Keys that make up "state", in this order; None: robomimic's usual ones where some are a
    robot's, else all that are vectors."""
    limits: tuple[Limit, Limit] | None = None
    """[low, high] of the actions, numbers or one for each entry, that become [-1, 1]; None: what
    the source says of them."""
    clip: bool = False
    """Whether actions beyond the limits are clipped, rather than refused."""
    quaternions: Literal["wxyz", "xyzw"] | None = None
    """Order of the entries of keys called "...quat", where the source does not name them; None:
    xyzw where the format is robosuite's or robomimic's, else they are no quaternions to us."""
    recompute: bool = False
    """Whether a robosuite task's observations are computed from the states beside those that the
    file has; they are if it has none."""
    cameras: Names | None = None
    """Where they are computed: cameras to draw, too."""
    image_size: tuple[pydantic.PositiveInt, pydantic.PositiveInt] = (84, 84)
    """Height and width of what they draw, pixels."""

    def unused(self) -> tuple[str, ...]:
        """Say which settings go unused where the terms are ours."""
        return self._unused(
            "these episodes were recorded in robolearn's own terms", (*TERMS, *DRAWN)
        )

    def undrawn(self, why: str = RECORDED) -> tuple[str, ...]:
        """Say which of recompute, cameras and image_size go unused, and why."""
        return self._unused(why, DRAWN)

    def _unused(self, why: str, keys: Sequence[str]) -> tuple[str, ...]:
        usual = Reading()
        asked = [f"{key}=" for key in keys if getattr(self, key) != getattr(usual, key)]
        return (f"not used: {', '.join(asked)}; {why}",) if asked else ()


@dataclass(frozen=True)
class Told:
    """What a file says of one episode, in its own terms; None where it says nothing.

    Observations and states have T + 1 rows, or T where the last is not in the file.
    """

    observations: dict[str, np.ndarray]
    actions: np.ndarray  # [T, A], any number type
    rewards: np.ndarray | None = None
    terminated: bool | None = None
    truncated: bool | None = None
    success: bool | None = None
    states: np.ndarray | None = None
    reward_terms: dict[str, np.ndarray] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    records: dict[str, np.ndarray] = field(default_factory=dict)


class Source(Protocol):
    """Episodes of a file or folder, whoever wrote it; errors are DataErrors of one line."""

    format: str  # a name of ``guess.FORMATS``
    path: Path
    interface: Spec
    env_options: dict[str, Any]
    names: tuple[str, ...]  # "demo_12"
    masks: Masks
    notes: tuple[str, ...]  # what was decided about all of it, to be said

    def load(self, name: str, images: bool = True) -> Episode:
        """Read an episode, of which nothing else is kept; without ``images`` those are left out."""

    def close(self) -> None:
        """Close what is open; calling it again does nothing."""


class Writer(Protocol):
    """Makes a file or a folder of episodes; ``folder`` is one of its own until all are there."""

    suffix: str  # of a part's name
    held: dict[str, str]  # what the format has no place for -> where it went

    def part(self, path: Path, episode: Episode) -> None:
        """Write an episode to ``path``, whole or not at all."""

    def join(self, parts: list[Path], folder: Path, names: list[str], masks: Masks) -> list[str]:
        """Make the whole of the parts in ``folder``; give what is in it, what makes it one last."""
