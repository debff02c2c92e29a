"""A session in a terminal: what to do, how far it is, where the hand is, what the judge says."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import threading
from collections.abc import Sequence
from typing import TextIO

import numpy as np

from demos.session.contracts import Frame, State, Status
from demos.session.pictures import Pictured
from demos.session.session import Session
from demos.session.words import Words
from demos.teleop import blocks
from robolearn.types import ArraySpec, Spec

PERIOD_S = 0.2  # between drawings
BAR = 20  # characters
LEVELS = " .:-=+*#%@"
RED, GREEN, BOLD, PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[1m", "\x1b[0m"
UP, CLEAR_LINE, CLEAR_BELOW = "\x1b[{}F", "\x1b[K", "\x1b[J"
PLACES = 3
LEAST_ROWS = 6  # for a picture
LEAST_COLUMNS = 30  # for each of two side by side; in less room the second one is left out
WORDS = Words()
GAP = 2  # columns between them


class Console:
    """Draws a session on a terminal, a few times a second; elsewhere, says what changes.

    A context manager: a thread with a mailbox of its own, which the session does not wait for.
    """

    def __init__(
        self,
        session: Session,
        interface: Spec,
        out: TextIO | None = None,
        pictured: Pictured | None = None,
        camera: str = "",
        address: str = "",
        words: Words | None = None,
    ) -> None:
        """Draw on ``out``, by default standard error; with the picture of a camera if given.

        And the page's ``address``, since a picture leaves no room for what stands above.
        """
        self._pictured, self._camera, self._address = pictured, camera, address
        self._words = words or WORDS
        self._out = sys.stderr if out is None else out
        self._draws = self._out.isatty()
        self._session, self._state = session, interface.observations.get("state")
        self._box = session.views.subscribe()
        self._thread = threading.Thread(target=self._work, name="console", daemon=True)
        self._lines, self._said = 0, ""
        self._ending = threading.Event()

    def __enter__(self) -> Console:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ending.set()
        self._box.close()
        self._thread.join()
        if self._draws and not any(error):
            self._draw(self._block(self._session.status, None))

    @property
    def _width(self) -> int:
        return shutil.get_terminal_size().columns - 1

    def _work(self) -> None:
        while not self._ending.is_set():
            frame = self._box.take()
            if frame is None:
                return
            frame = self._box.newest() or frame
            if self._draws:
                text = self._block(frame.status, frame, self._address)
                self._draw([*self._picture(frame, len(text)), *text])
                self._ending.wait(PERIOD_S)
            else:
                self._say(frame.status)

    def _block(self, status: Status, frame: Frame | None, address: str = "") -> list[str]:
        return block(status, frame, self._state, self._width, address, self._words)

    def _picture(self, frame: Frame, taken: int) -> list[str]:
        """Give the lines of the latest picture, in what is left of the screen; have one drawn."""
        if self._pictured is None or frame.state is None:
            return []
        self._pictured.offer(frame.state, frame.beside)
        latest = self._pictured.latest()
        rows = shutil.get_terminal_size().lines - taken - 1
        if latest is None or rows < LEAST_ROWS:
            return []
        image, all_colours = latest.images[self._camera], blocks.has_true_colour(os.environ)
        if latest.beside is None:
            return blocks.lines(image, self._width, rows, all_colours)
        return pair(image, latest.beside, self._width, rows, all_colours)

    def _draw(self, lines: Sequence[str]) -> None:
        lines = lines[: shutil.get_terminal_size().lines - 1]  # what scrolls is not drawn over
        back = UP.format(self._lines) if self._lines else ""
        text = "".join(line + CLEAR_LINE + "\n" for line in lines)
        self._out.write(back + text + CLEAR_BELOW)  # a whole screen cleared is kept by some: tmux
        self._out.flush()
        self._lines = len(lines)

    def _say(self, status: Status) -> None:
        """Say in one line that something has changed."""
        now = " ".join(filter(None, [status.state, status.decision, status.problem]))
        if now != self._said:
            self._said = now
            problem = f" ({status.problem})" if status.problem else ""
            self._out.write(f"{self._words.headline(status)}: {status.message}{problem}\n")
            self._out.flush()


def pair(
    image: np.ndarray, beside: np.ndarray, width: int, rows: int, all_colours: bool
) -> list[str]:
    """Draw a demonstration and the base's side by side; without the base's where it is narrow."""
    room = (width - GAP) // 2
    if room < LEAST_COLUMNS:
        return ["yours", *blocks.lines(image, width, rows - 1, all_colours)]
    drawn = [blocks.lines(one, room, rows - 1, all_colours) for one in (image, beside)]
    wide = drawn[0][0].count(blocks.UPPER)
    lines = [(" " * GAP).join(both) for both in zip(*drawn, strict=True)]
    return [f"{'yours':{wide + GAP}}the base's", *lines]


def block(
    status: Status,
    frame: Frame | None,
    state: ArraySpec | None,
    width: int,
    address: str = "",
    words: Words = WORDS,
) -> list[str]:
    """Give the lines to draw, none wider than ``width``."""
    task = f"  {status.task}" if status.task else ""
    moving = " (you)" if status.intervention else ""
    steps = f"{words.one} {status.attempt}, {status.time_s:.1f} s" if status.attempt else ""
    lines = [
        (BOLD, words.headline(status) + task),
        ("", f"{status.message}    {steps}{moving}"),
        ("", _device_line(status)),
    ]
    if address:
        lines.append(("", f"page: {address}"))
    if frame is not None and state is not None:
        lines += [("", text) for text in sight(frame.observation.get("state"), state)]
    if status.live is not None:
        lines.append((GREEN if status.live.level <= 0.5 else RED, _bar(status)))
    if status.verdict is not None:
        word = "fits" if status.verdict.accepted else "; ".join(status.verdict.reasons)
        colour = GREEN if status.verdict.accepted else RED
        lines += [(colour, text) for text in textwrap.wrap(f"verdict: {word}", width)]
    lines += [(RED, text) for text in textwrap.wrap(status.problem, width)]
    if status.state is not State.DONE:
        lines += [("", text) for text in _help(status, width)]
    return [colour + text[:width] + PLAIN if colour else text[:width] for colour, text in lines]


def _device_line(status: Status) -> str:
    gripper = f", gripper {status.gripper}" if status.gripper else ""
    frame = f", frame {status.frame}, speed {status.speed:.2f}" if status.frame else ""
    missed = f", late {status.missed} of {status.deadlines}" if status.missed else ""
    return f"{status.device}{frame}{gripper}{missed}"


def _bar(status: Status) -> str:
    levels = np.clip(np.nan_to_num([status.live.level, *status.strip], nan=1.0), 0.0, 1.0)
    full, strip = round(levels[0] * BAR), levels[1:]
    parts = np.array_split(strip, BAR) if len(strip) >= BAR else [strip[i : i + 1] for i in
                                                                 range(len(strip))]  # fmt: skip
    signs = (LEVELS[min(int(part.max() * len(LEVELS)), len(LEVELS) - 1)] for part in parts)
    return f"[{'#' * full}{'-' * (BAR - full)}] {''.join(signs):{BAR}}  {status.live.words}"


def sight(values: np.ndarray | None, spec: ArraySpec) -> list[str]:
    """Put into words where the hand is, and where objects are from it."""
    if values is None or not spec.names:
        return []
    groups: dict[str, list[float]] = {}
    for name, value in zip(spec.names, values, strict=True):
        groups.setdefault(name.rpartition("_")[0] or name, []).append(float(value))
    told = [g for g in groups if g.endswith("eef_pos") or "_to_" in g] or list(groups)[:2]
    return [
        f"{group}: " + " ".join(f"{value:+.{PLACES}f}" for value in groups[group]) for group in told
    ]


def _help(status: Status, width: int) -> list[str]:
    """Set out the keys in columns."""
    cells = [f"{keys}  {text}" for keys, text in status.help]
    if not cells:
        return []
    wide = max(map(len, cells)) + 3
    columns = max(1, width // wide)
    rows = -(-len(cells) // columns)
    return ["".join(f"{cell:{wide}}" for cell in cells[row::rows]).rstrip() for row in range(rows)]
