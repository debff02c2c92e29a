"""A session shown in Rerun: what is logged of it, and that it waits for nobody who looks on."""

import itertools
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from demos.devices.contracts import Button
from demos.page.feed import Feed
from demos.session.contracts import Live, Verdict
from demos.session.pictures import Pictures
from demos.teleop import in_rerun
from demos.teleop.in_rerun import COMPARED, InRerun, scores_of
from robolearn.errors import UserError

from ..conftest import walk
from ..session.people import Person, Strict, Wire, session

WORDS = "judge: faster"


class Logged:
    """Takes down what a viewer is told; each call may do something else first."""

    def __init__(self, first=lambda: None):
        self.calls, self._first, self._moments = [], first, itertools.count()

    @property
    def moment(self):
        return next(self._moments)

    def __getattr__(self, name):
        def log(*values, **options):
            self._first()
            self.calls.append((name, values, options))

        return log

    def told(self, name):
        return [values for called, values, _ in self.calls if called == name]


def shown(made, viewer, monkeypatch=None, feed=None):
    """Run a session beside a viewer, which sees every frame where ``monkeypatch`` is given."""
    if monkeypatch is not None:
        monkeypatch.setattr(in_rerun, "CAPACITY", 10**6)
    with InRerun(made, viewer, Wire(), feed) as view:
        outcome = made.run()
    return outcome, view


def rejected_once(dataset):
    """Give a session of one demonstration that is rejected, compared and then left."""
    base = {"demo_0": walk(0), "demo_1": walk(1)}
    person = Person([(Button.START,), (), (Button.START,), *[()] * 40], attempts=1)
    return session(person, dataset, Strict((), base), base.get), base


def test_every_step_is_told_with_what_the_judge_says(dataset, monkeypatch):
    viewer = Logged()
    made = session(Person(), dataset, Strict({0}), goal=1)
    shown(made, viewer, monkeypatch)
    episode = dataset.load("demo_0")
    assert [values[0] for values in viewer.told("begin_episode")] == ["demonstration 1, teach"]
    steps = [step for step, *_ in viewer.told("log_step")]
    assert [step.t for step in steps] == list(range(len(episode)))
    np.testing.assert_array_equal([step.action for step in steps], episode.actions)
    observed = [step.next_observation["state"] for step in steps]
    np.testing.assert_array_equal(observed, episode.observations["state"][1:])
    np.testing.assert_array_equal(
        steps[0].observation["state"], episode.observations["state"][0]
    )  # fmt: skip
    assert viewer.told("log_text") == [(WORDS,), ("demonstration 1: kept, fits (0.50)",)]
    assert [options for name, _, options in viewer.calls if name == "log_text"] == [
        {"warning": True}, {"warning": False}
    ]  # fmt: skip


def test_a_rejection_is_told_and_what_is_watched_is_an_episode_of_its_own(dataset, monkeypatch):
    viewer = Logged()
    made, base = rejected_once(dataset)
    shown(made, viewer, monkeypatch)
    assert [values[0] for values in viewer.told("begin_episode")] == [
        "demonstration 1, teach",
        "watch: worst part 1 of 1",
        "watch: the base demonstration most like yours",
    ]
    assert viewer.told("log_text")[1:] == [("demonstration 1: rejected, slow (2.00)",)]
    seen = [observation["state"] for observation, _ in viewer.told("log_sight")]
    states = base["demo_1"].observations["state"]
    np.testing.assert_array_equal(seen[-len(states) :], states)


def test_the_numbers_of_a_judge_are_scores_and_mark_what_it_speaks_of():
    scores = scores_of(Live(1.0, "unlike the base", {"M": 0.0, "L": 2.0}, {"L": 1.5}))
    assert scores.values == {"M": 0.0, "L": 2.0} and scores.thresholds == {"L": 1.5}
    assert scores.incompatible and not scores_of(Live(0.1)).incompatible


class Fed:
    """Has new pictures at every look; beside them another one, for a while."""

    cameras = ("front",)

    def __init__(self):
        self.watchers, self.looks, self.problem = 0, 0, ""
        self.ready = threading.Event()

    def join(self):
        self.watchers += 1
        self.ready.set()

    def leave(self):
        self.watchers -= 1

    @property
    def newest(self):
        self.looks += 1
        beside, number = b"base" if 3 <= self.looks < 6 else None, self.looks // 2
        return Pictures(number, {"front": b"mine"}, beside, frame=number - 1)


def test_cameras_are_logged_once_each_and_the_base_beside_them_while_it_is_compared(
    dataset, monkeypatch
):
    viewer, feed = Logged(), Fed()
    shown(session(Person(), dataset, goal=1), viewer, monkeypatch, feed)
    images = [values[0] for values in viewer.told("log_images")]
    assert len(images) == feed.looks // 2 and feed.watchers == 0
    assert all(found["front"] == b"mine" for found in images)
    compared = [found.get(COMPARED) for found in images[:4]]
    assert compared[:2] == [None, b"base"] and not compared[2].any()  # then it is blanked, once
    assert all(COMPARED not in found for found in images[3:])
    moments = [values[1] for values in viewer.told("log_images")]
    assert moments == list(range(len(images)))  # of earlier frames, as they show


def test_cameras_that_cannot_be_drawn_are_said_and_left_out(dataset):
    def make():
        raise UserError("no GL library works here")

    made = session(Person(), dataset, goal=1)
    feed = Feed(made.views, ("front",), make)
    viewer = Logged()
    with pytest.warns(UserWarning, match="view: no pictures: no GL library works here"):
        outcome, _ = shown(made, viewer, feed=feed)
    feed.close()
    assert outcome.kept == 1 and not viewer.told("log_images")


def test_a_viewer_that_hangs_holds_nothing_up(dataset, monkeypatch):
    monkeypatch.setattr(in_rerun, "PATIENCE_S", 0.0)
    monkeypatch.setattr(in_rerun, "CAPACITY", 4)
    hangs, over = threading.Event(), threading.Event()

    def hang():
        if threading.current_thread().name == "rerun":
            hangs.set()
            assert over.wait(60.0)

    made = session(Person(), dataset, goal=8)
    watch = made.views.subscribe(1)
    with pytest.warns(UserWarning, match="view: too slow for the session"):
        outcome, view = shown(made, Logged(hang))
    assert outcome.kept == 8 and hangs.is_set() and not over.is_set()
    assert view._box.dropped > 0 and watch.dropped > view._box.dropped
    over.set()
    view._thread.join()


def test_a_viewer_that_fails_ends_no_session(dataset):
    def fail():
        if threading.current_thread().name == "rerun":
            raise OSError("disk full")

    with pytest.warns(UserWarning, match="view: it has ended early: OSError: disk full"):
        outcome, view = shown(session(Person(), dataset, goal=2), Logged(fail))
    assert outcome.kept == 2


def test_a_verdict_is_put_behind_a_decision():
    said = in_rerun.reasons
    assert said(SimpleNamespace(verdict=None)) == ""
    assert said(SimpleNamespace(verdict=Verdict(False, 2.0, ("slow", "late")))) == (
        ", slow; late (2.00)"
    )
