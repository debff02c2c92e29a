"""Questions in a terminal: both clips in coloured characters, or curves, and a key."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import shutil
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from typing import TextIO

from demos.labels.clips import Clip, Clips
from demos.teleop import blocks
from robolearn.rewards.labels import KEYS, Answer, Question, curves
from robolearn.rewards.questionnaire import Questionnaire
from robolearn.types import Spec

ARROWS = {"\x1b[D": Answer.FIRST, "\x1b[C": Answer.SECOND}
ASKED = "which is better?  1 or left, 2 or right, = equal, ? cannot tell"
GAP = 2  # columns between two clips
MOST_ROWS = 30  # of a clip
LEAST_S = 2.0  # that a clip lasts
UP, CLEAR = "\x1b[{}F", "\x1b[J"


def ask(asked: Questionnaire, number: int, clips: Clips | None, out: TextIO) -> Answer:
    """Show a question until one of the keys is pressed; KeyboardInterrupt for Ctrl-C."""
    print(headline(asked, number), file=out, flush=True)
    if clips is None:
        print(
            curves(asked.question(number), asked.interface), ASKED, sep="\n", file=out, flush=True
        )
        with key_presses() as press:
            while (answer := press(None)) is None:
                pass
        return answer
    clip = clips.clip(number)
    with key_presses() as press:
        return _played(clip, press, out)


def headline(asked: Questionnaire, number: int) -> str:
    """Say which question it is, what is wanted, and how many are answered and open."""
    task = asked.about.get("task") or asked.interface.environment
    counts = f"{len(asked.answers())} answered, {len(asked.open())} open"
    return f"question {number + 1}: {task} ({counts})"


def _played(clip: Clip, press: Callable[[float | None], Answer | None], out: TextIO) -> Answer:
    """Play both clips side by side, again and again, until a key says which is better."""
    count = len(clip.first)
    period_s = max(clip.period_s, LEAST_S / count)
    drawn = 0
    for frame in itertools.cycle(range(count)):
        lines = [*_pair(clip, frame), ASKED]
        out.write((UP.format(drawn) if drawn else "") + CLEAR + "\n".join(lines) + "\n")
        out.flush()
        drawn = len(lines)
        if (answer := press(period_s)) is not None:
            return answer
    raise AssertionError("a cycle has no end")


def _pair(clip: Clip, frame: int) -> list[str]:
    size = shutil.get_terminal_size()
    room, rows = (size.columns - 1 - GAP) // 2, min(size.lines - 4, MOST_ROWS)
    all_colours = blocks.has_true_colour(os.environ)
    first, second = (
        blocks.lines(images[frame], room, rows, all_colours) for images in (clip.first, clip.second)
    )
    return [(" " * GAP).join(both) for both in zip(first, second, strict=True)]


@contextlib.contextmanager
def key_presses() -> Iterator[Callable[[float | None], Answer | None]]:
    """Read keys as they are pressed: ``press(timeout_s)`` gives an answer, or None."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def press(timeout_s: float | None) -> Answer | None:
        if not select.select([descriptor], [], [], timeout_s)[0]:
            return None
        text = os.read(descriptor, 16).decode(errors="replace")
        return ARROWS.get(text, KEYS.get(text))

    try:
        tty.setcbreak(descriptor, termios.TCSAFLUSH)  # what was typed before counts for nothing
        yield press
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def show_curves(interface: Spec, out: TextIO) -> Callable[[Question], None]:
    """Give what shows a question where keys are lines: no terminal."""
    return lambda question: print(curves(question, interface), file=out, flush=True)
