"""SIGKILL in the middle of a session: what was finished is there."""

import random

from kills import AIMS, World, have_session, kill_all, rows, summed

from ..conftest import INTERFACE
from .people import Person, Wire

KILLS = 10
WORLD = World(INTERFACE, Wire, lambda interface, rng: Person(), horizon=12, settle_steps=1)


def test_sigkill_at_any_moment_loses_no_demonstration_that_was_finished(tmp_path):
    kills = kill_all(WORLD, tmp_path, KILLS, random.Random(1))
    found = summed(kills)
    assert found["kills"] == KILLS
    assert found["said"] == found["found"] > 0
    assert found["lost"] == 0 and found["doctor"] == [], found
    assert all(kill["unsaid"] <= 1 for kill in kills)  # the last may be whole, but not shown
    assert sum(row["kills"] for row in rows(kills, None)) == KILLS


def test_a_session_that_is_let_live_passes_through_everything(tmp_path):
    told = []
    for seed in range(2):
        have_session(WORLD, tmp_path / "d", seed, False, told.append)
    states = [line for line in told if " " not in line]
    assert {*AIMS, "ended"} == set(states)
