import dataclasses
import io
import re

import numpy as np
import pytest

from demos.session.contracts import Frame, Live, Phase, State, Status, Verdict
from demos.session.views import Views
from demos.session.words import headline
from demos.teleop.console import BAR, Console, block, pair, sight
from robolearn.types import ArraySpec

HAND = ("eef_pos_x", "eef_pos_y", "eef_pos_z")
ARM = ArraySpec((6,), names=(*HAND, "door_angle", "hand_to_cube_pos_x", "hand_to_cube_pos_y"))
STATUS = Status(
    Phase.TEACH, State.RUNNING, operator="ann", task="lift it", device="keys", frame="world",
    speed=0.25, help=(("w s", "forward, back"), ("enter", "begin")), attempt=3, time_s=2.5,
    kept=1, goal=5, rejected=1, gripper="open", missed=2, deadlines=50, message="demonstrate",
)  # fmt: skip
STATE = np.arange(6, dtype=np.float32) / 10


def plain(lines):
    return [
        line.replace("\x1b[31m", "").replace("\x1b[32m", "").replace("\x1b[0m", "")
        for line in lines
    ]


def test_it_says_how_far_it_is_what_to_do_and_which_keys_there_are():
    text = "\n".join(block(STATUS, None, None, 100))
    for said in (
        "teach, ann: kept 1 of 5, rejected 1",
        "lift it",
        "demonstrate",
        "2.5 s",
        "frame world, speed 0.25, gripper open, late 2 of 50",
        "w s  forward, back",
    ):
        assert said in text  # fmt: skip


def test_it_says_where_the_page_is():
    assert "page: http://here/" in block(STATUS, None, None, 100, "http://here/")
    assert not any(line.startswith("page:") for line in block(STATUS, None, None, 100))


def test_it_says_where_the_hand_is():
    assert sight(STATE, ARM) == [
        "eef_pos: +0.000 +0.100 +0.200", "hand_to_cube_pos: +0.400 +0.500"
    ]  # fmt: skip
    assert sight(STATE[:2], ArraySpec((2,), names=("position", "goal"))) == [
        "position: +0.000", "goal: +0.100"
    ]  # fmt: skip
    assert sight(STATE, ArraySpec((6,))) == sight(None, ARM) == []


def test_the_bar_is_as_full_as_it_is_red():
    red = dataclasses.replace(STATUS, live=Live(0.75, "faster"), strip=(0.0,) * 30 + (1.0,) * 30)
    (line,) = [line for line in block(red, None, None, 100) if "faster" in line]
    assert line.startswith("\x1b[31m[" + "#" * 15 + "-" * 5 + "]")
    assert line.partition("] ")[2].startswith(" " * 10 + "@" * 10)
    green = dataclasses.replace(red, live=Live(0.1), strip=(0.1,))
    assert any(line.startswith("\x1b[32m[##---") for line in block(green, None, None, 100))
    none = dataclasses.replace(red, live=Live(np.nan, "?"), strip=(np.inf, 0.0, np.nan))
    assert any("#" * BAR + "] @ @" in line for line in block(none, None, None, 100))
    assert BAR == 20


def test_a_verdict_and_a_problem_are_told():
    status = dataclasses.replace(
        STATUS, verdict=Verdict(False, 2.0, ("slow in 3 to 9", "late")), problem="unplugged"
    )
    lines = plain(block(status, None, None, 100))
    assert "verdict: slow in 3 to 9; late" in lines and "unplugged" in lines


def test_a_long_verdict_and_a_long_problem_are_told_to_their_end():
    reasons = ("slower than the base by 2.4 s in steps 88 to 179", "drx is +0.33 in steps 83 to 88")
    problem = "cannot write (no space left on device); it is kept in memory: begin tries again"
    status = dataclasses.replace(STATUS, verdict=Verdict(False, 2.0, reasons), problem=problem)
    lines = plain(block(status, None, None, 40))
    assert max(map(len, lines[1:])) <= 40
    assert f"verdict: {'; '.join(reasons)} {problem}" in " ".join(lines)


@pytest.mark.parametrize("width", [20, 40, 79, 200])
def test_nothing_is_wider_than_the_terminal(width):
    frame = Frame(0, 0.0, {"state": STATE}, None, None, STATUS)
    status = dataclasses.replace(STATUS, live=Live(0.75, "x" * 90), problem="y" * 300)
    assert max(map(len, plain(block(status, frame, ARM, width)))) <= max(width, 4 + width)
    assert all(len(line) <= width for line in plain(block(STATUS, frame, ARM, width))[1:])


def test_two_demonstrations_stand_side_by_side_where_there_is_room():
    dark, bright = np.zeros((30, 40, 3), np.uint8), np.full((30, 40, 3), 255, np.uint8)
    heading, *lines = pair(dark, bright, 82, 20, all_colours=True)
    assert len(lines) == 15 and heading == "yours" + " " * 37 + "the base's"
    black, white = ("2;" + ";".join([level] * 3) for level in ("0", "255"))
    left, right = lines[0].split("  ")
    assert black in left and white not in left and white in right and black not in right
    assert left.count("\u2580") == right.count("\u2580") == 40
    heading, *lines = pair(dark, bright, 60, 10, all_colours=True)
    assert heading == "yours" and len(lines) <= 9 and not any(white in line for line in lines)


class Screen(io.StringIO):
    def isatty(self):
        return True


class Stage:
    """Stands for a session."""

    def __init__(self):
        self.views, self.status = Views(), STATUS


def shown(out, *statuses):
    stage = Stage()
    interface = type("I", (), {"observations": {"state": ARM}})
    with Console(stage, interface, out) as console:
        for status in statuses:
            stage.status = status
            stage.views.show(Frame(0, 0.0, {"state": STATE}, None, None, status))
            while console._box._items:
                pass
    return out.getvalue()


def test_on_a_terminal_it_draws_over_what_it_drew():
    done = dataclasses.replace(STATUS, state=State.DONE, message="done")
    text = shown(Screen(), STATUS, done)
    assert "eef_pos" in text and "\x1b[" in text
    assert text.endswith("late 2 of 50\x1b[K\n\x1b[J")
    first, *later = text.split("\x1b[J")  # tmux puts a screen that is cleared into its history
    assert later and all(re.match(r"\x1b\[\d+F", drawn) for drawn in later[:-1])
    assert all(line.endswith("\x1b[K") for line in first.splitlines())


def test_it_draws_no_more_lines_than_the_terminal_has(monkeypatch):
    monkeypatch.setenv("LINES", "4")
    first = shown(Screen(), STATUS).partition("\x1b[3F")[0]
    assert first.count("\n") == 3


def test_elsewhere_it_says_what_changes_once():
    later = dataclasses.replace(STATUS, time_s=3.0)
    saving = dataclasses.replace(STATUS, state=State.SAVING, message="saving", problem="full")
    text = shown(io.StringIO(), STATUS, later, saving)
    assert text.splitlines() == [
        f"{headline(STATUS)}: demonstrate", f"{headline(STATUS)}: saving (full)"
    ]  # fmt: skip
