"""What people prefer: questions about two pieces of behaviour, who answers them, what is kept.

A segment is a mapping of arrays [L, ...] of L successive steps of one episode: "observations",
itself a mapping with "state" [L, O]; "actions" [L, A]; and what else is there for whoever answers,
such as "states" [L, S] of the simulator, to be drawn, or "task_rewards" [L], for a teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from robolearn.errors import DataError, SpecError, UserError, nearest
from robolearn.files import write_atomically
from robolearn.types import Spec

Segment = Mapping[str, Any]


class Answer(StrEnum):
    """What is said of two segments."""

    FIRST = "first"
    SECOND = "second"
    EQUAL = "equal"
    CANNOT_TELL = "cannot tell"


SHARE = {Answer.FIRST: 1.0, Answer.SECOND: 0.0, Answer.EQUAL: 0.5}
"""y, the probability that a label gives to the first segment; no label if nobody can tell."""


@dataclass(frozen=True, eq=False)
class Question:
    """Which of two segments is preferred?"""

    first: Segment
    second: Segment


class Labeller(Protocol):
    """Whoever answers questions: a person at a terminal or a page, a scripted teacher."""

    def answer(self, question: Question) -> Answer:
        """Say which of the two is preferred; a person may take any time."""


class Labels:
    """The latest labelled pairs of segments, at most ``capacity``; the oldest are forgotten.

    ``states`` [M, 2, L, O], ``actions`` [M, 2, L, A] and ``y`` [M] are float32, in the order of
    their places, which is that of time until the first is forgotten.
    """

    def __init__(self, interface: Spec, capacity: int, length: int):
        """Take the memory; SpecError if the interface has no "state"."""
        if "state" not in interface.observations:
            seen = ", ".join(sorted(interface.observations)) or "nothing"
            raise SpecError(f"preferences are about the 'state'; this environment shows {seen}")
        pair = (capacity, 2, length)
        self.capacity, self.length = capacity, length
        self._states = np.zeros((*pair, *interface.observations["state"].shape), np.float32)
        self._actions = np.zeros((*pair, *interface.action.shape), np.float32)
        self._y = np.zeros(capacity, np.float32)
        self.given = 0  # labels ever

    def __len__(self) -> int:
        """Count the labels that it holds."""
        return min(self.given, self.capacity)

    @property
    def states(self) -> np.ndarray:
        """Give what was seen."""
        return self._states[: len(self)]

    @property
    def actions(self) -> np.ndarray:
        """Give what was done."""
        return self._actions[: len(self)]

    @property
    def y(self) -> np.ndarray:
        """Give the probability that each label gives to the first segment: 1, 0 or 0.5."""
        return self._y[: len(self)]

    def add(self, question: Question, answer: Answer) -> bool:
        """Remember an answer; give whether it is a label. DataError for what does not fit."""
        known = [each.value for each in Answer]
        if answer not in known:
            raise DataError(f"no answer '{answer}'{nearest(str(answer), known)}")
        if answer not in SHARE:
            return False
        pair = [_seen(segment) for segment in _pair(question)]
        for segment in pair:
            self._require(*segment)
        place = self.given % self.capacity
        for i, (states, actions) in enumerate(pair):
            self._states[place, i], self._actions[place, i] = states, actions
        self._y[place] = SHARE[answer]
        self.given += 1
        return True

    def _require(self, states: np.ndarray, actions: np.ndarray) -> None:
        expected, found = (
            f"states {seen} and actions {done}"
            for seen, done in (
                (self._states.shape[2:], self._actions.shape[2:]),
                (states.shape, actions.shape),
            )
        )
        if expected != found:
            raise DataError(f"a segment has {found} instead of {expected}")
        if not (np.isfinite(states).all() and np.isfinite(actions).all()):
            raise DataError("a segment is not finite")

    # persistence

    def state_dict(self) -> dict[str, np.ndarray]:
        """Give all that is held, and how many labels there ever were."""
        held = {"states": self.states, "actions": self.actions, "y": self.y}
        return held | {"given": np.array(self.given)}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what ``state_dict`` gave; DataError, and no change, if it does not fit."""
        columns = {"states": self._states, "actions": self._actions, "y": self._y}
        missing = sorted({*columns, "given"} - set(state))
        if missing:
            raise DataError(f"these are no labels: {', '.join(missing)} missing")
        given = int(state["given"])
        for name, column in columns.items():
            expected = (min(given, self.capacity), *column.shape[1:])
            if state[name].shape != expected:
                found = f"{name} {state[name].shape} instead of {expected}"
                raise DataError(f"these labels are of another environment or capacity: {found}")
        self.given = given
        for name, column in columns.items():
            column[: len(self)] = state[name]

    def save(self, path: Path) -> None:
        """Write all labels to a file, whole or not at all; short enough to do at every answer."""
        write_atomically(path, safetensors.numpy.save(self.state_dict()))

    def load(self, path: Path) -> None:
        """Take over what ``save`` wrote; DataError if it is missing, damaged or does not fit."""
        try:
            state = safetensors.numpy.load_file(path)
        except (OSError, SafetensorError) as error:
            raise DataError(f"{path}: missing or damaged: {error}") from error
        try:
            self.load_state_dict(state)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error


def _pair(question: Question) -> tuple[Segment, Segment]:
    return question.first, question.second


def _seen(segment: Segment) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(segment["observations"]["state"]), np.asarray(segment["actions"])


# people at a terminal

KEYS = {"1": Answer.FIRST, "2": Answer.SECOND, "=": Answer.EQUAL, "?": Answer.CANNOT_TELL}
ASKED = "which is better? 1, 2, = (equal), ? (cannot tell): "


class Terminal:
    """A person who types: a Labeller. ``show`` shows a question, by a player of one's own too."""

    def __init__(self, show: Callable[[Question], None], read: Callable[[str], str] = input):
        self.show, self.read = show, read

    def answer(self, question: Question) -> Answer:
        """Show a question and ask until one of the keys is typed; UserError if nobody can type."""
        self.show(question)
        try:
            while (key := self.read(ASKED).strip()) not in KEYS:
                pass
        except EOFError:
            raise UserError("nobody answers: the input has ended") from None
        return KEYS[key]


LEVELS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"  # bars of growing height


def curves(question: Question, interface: Spec, entries: int = 6, width: int = 20) -> str:
    """Draw the entries of "state" that tell the segments apart most, as curves of characters.

    How far apart is measured against the entry's spread in both; a line has one scale.
    """
    lines = [f"{'':24}{'first':{width + 2}}{'second':{width + 2}}between"]
    for name, *both in _most_apart(question, interface, entries):
        low, high = np.min(both), np.max(both)
        drawn = (_curve(values, low, high, width) for values in both)
        lines.append(f"{name:24}" + "  ".join(drawn) + f"  {low:.3g} and {high:.3g}")
    return "\n".join(lines)


def _most_apart(
    question: Question, interface: Spec, entries: int
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Give the names of entries, and how they go in both segments, [L] each."""
    first, second = (_seen(segment)[0].astype(float) for segment in _pair(question))  # [L, O]
    names = interface.observations["state"].names or tuple(map(str, range(first.shape[1])))
    spread = np.concatenate([first, second]).std(axis=0)
    apart = np.abs(first - second).mean(axis=0) / np.maximum(spread, 1e-9)
    order = np.argsort(-apart, kind="stable")[:entries]
    return [(names[i], first[:, i], second[:, i]) for i in order]


def _curve(values: np.ndarray, low: float, high: float, width: int) -> str:
    at = np.linspace(0, len(values) - 1, width).round().astype(int)
    share = (values[at] - low) / max(high - low, 1e-9)
    return "".join(LEVELS[int(level)] for level in (share * (len(LEVELS) - 1)).round())
