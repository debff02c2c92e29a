"""The informed operator in a session, on the line: it is to walk there as fast as the base does."""

import dataclasses

import numpy as np
import pytest

from demos.data.dataset import Dataset
from demos.operators import STYLES, changed
from demos.session.clock import SimulatedClock
from demos.session.contracts import Verdict
from demos.session.session import Session
from demos.session.teaching import SessionConfig
from demos.study.elicitation import InformedOperator, Insight, Understood
from robolearn.judging.verdicts import HarmVerdict
from robolearn.loops.rollout import Job, rollouts
from robolearn.loops.row import RowEnvironment
from robolearn.types import Episode

from ..operators.world import interface_of
from ..session.people import Wire

BASE = STYLES["base"]
SLOW = dataclasses.replace(BASE, speed=0.2)
HORIZON, SETTLE = 60, 2


class Strider:
    """Walks to the goal at its style's pace, with noise; one in four walks away from it."""

    def __init__(self, style, rng):
        self._pace, self._rng = style.speed / BASE.speed, rng
        self._sign = -1 if rng.random() < 1 / 4 else 1

    def reset(self, n):
        self._noise = self._rng.normal(0, 0.02)

    def act(self, observation, explore=False):
        position, goal = observation["state"].T
        action = self._sign * self._pace * np.sign(goal - position) * 0.5
        noise = self._noise + self._rng.normal(0, 0.02, len(goal))
        return (action + noise)[:, None].astype(np.float32)


class Brisk:
    """A judge that accepts those who walk about as fast as the base, and sees their tempo."""

    def live(self):
        return None

    def verdict(self, episode):
        fits = bool(np.abs(episode.actions).mean() > 0.4)
        return Understood(fits, 0.0, trait="" if len(episode) < 4 else "tempo")


def alone(envs, *, wanted, attempts, heed, seed):
    """Do the same without a session; give the episodes, what became of them, and the styles."""
    style, made, kept = SLOW, [], 0
    for attempt in range(attempts):
        rng = np.random.default_rng([seed, attempt])
        start = int(rng.integers(2**31))
        jobs = [Job(Strider(style, rng), start)]
        episode, _ = next(rollouts(envs, jobs, horizon=HORIZON, settle_steps=SETTLE))
        fits = Brisk().verdict(episode).accepted
        decision = ("kept" if fits else "rejected") if episode.success else "failed"
        made.append((episode, decision, style))
        kept += decision == "kept"
        if decision == "rejected" and rng.random() < heed:
            style = changed(style, "tempo", BASE)
        if kept == wanted:
            break
    return made


def elicited(envs, dataset, *, wanted, attempts, heed, seed, scorer=None):
    """Give the session's outcome, and the styles in which the operator demonstrated."""
    styles = []

    def make(style, rng):
        styles.append(style)
        return Strider(style, rng)

    person = InformedOperator(make, SLOW, BASE, heed=heed, seed=seed, status=lambda: session.status)
    config = SessionConfig(goal=wanted, attempts=attempts, horizon=HORIZON, settle_steps=SETTLE)
    session = Session(
        RowEnvironment(envs), person, dataset, config, start_seed=person.start_seed,
        clock=SimulatedClock(), scorer=scorer or Brisk(),
    )  # fmt: skip
    return session.run(), styles


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("heed", [0.0, 0.5, 1.0])
def test_a_session_gives_the_episodes_of_the_loop_alone(dataset, together, seed, heed):
    how = dict(wanted=3, attempts=8, heed=heed, seed=seed)
    envs = together([Wire(), Wire()])
    outcome, styles = elicited(envs, dataset, **how)
    expected = alone(together([Wire(), Wire()]), **how)
    assert len(dataset) == outcome.attempts == len(expected)
    assert styles == [style for _, _, style in expected]
    for n, (episode, decision, _) in enumerate(expected):
        ours = dataset.load(f"demo_{n}")
        np.testing.assert_array_equal(ours.states, episode.states)
        np.testing.assert_array_equal(ours.actions, episode.actions)
        np.testing.assert_array_equal(ours.rewards, episode.rewards)
        assert ours.metadata["decision"] == decision and ours.metadata["attempt"] == n
        assert ours.metadata["seed"] == episode.metadata["seed"]
    decided = [decision for _, decision, _ in expected]
    assert outcome.kept == decided.count("kept") and "rejected" in decided
    assert heed == 0.5 or outcome.kept == (3 if heed else 0)


def test_an_operator_heeds_rejections_only(dataset, together):
    how = dict(wanted=99, attempts=6, heed=1.0, seed=3)
    outcome, styles = elicited(together([Wire()]), dataset, **how)
    assert outcome.decisions == {"failed": 1, "rejected": 1, "kept": 4}
    decided = [dataset.metadata(name)["decision"] for name in dataset.names()]
    assert decided[:2] == ["failed", "rejected"]
    assert styles == [SLOW] * 2 + [BASE] * 4


def test_what_was_too_short_to_be_judged_points_at_nothing(dataset, together):
    class Unable(Brisk):
        def verdict(self, episode):
            return Understood(False, 0.0)

    how = dict(wanted=1, attempts=5, heed=1.0, seed=0)
    outcome, styles = elicited(together([Wire()]), dataset, **how, scorer=Unable())
    assert outcome.decisions["rejected"] > 1 and set(styles) == {SLOW}


# what it sees in a verdict


class Told:
    """A judge of harm that says what it was told to."""

    def __init__(self, departure):
        self.departure = departure

    def score(self, observations, actions):
        reason = Reason(20, 30)
        none = np.zeros(len(actions))
        return HarmVerdict(
            False, 2.0, 0.04, 0.5, 0.0, 0.0, 0.5, (reason,), none, none, none, self.departure,
            self.departure,
        )  # fmt: skip


@dataclasses.dataclass
class Reason:
    start: int
    end: int
    text: str = "slow"


def demonstration(interface, steps: int) -> Episode:
    """Make up a demonstration that moves along x, at half speed."""
    actions = np.zeros((steps, 7), np.float32)
    actions[:, 0], actions[:, 6] = 0.4, -1.0
    return Episode(
        observations={"state": np.zeros((steps + 1, *interface.observations["state"].shape))},
        actions=actions, rewards=np.zeros(steps), terminated=False, truncated=True, success=True,
    )  # fmt: skip


def test_the_trait_is_that_of_the_worst_window():
    interface = interface_of("Lift")
    episode = demonstration(interface, 40)
    departure = np.zeros((40, 7))
    departure[20:30, 0] = -0.4  # the base would have gone twice as fast
    departure[:20, 1] = 0.9  # another way, elsewhere
    verdict = Insight(Told(departure), "robosuite/Lift", interface).verdict(episode)
    assert verdict == Understood(
        False, 2.0, ("slow",), ((20, 30),), p_value=0.04, worst_window=(20, 30), trait="tempo"
    )
    assert isinstance(verdict, Verdict)


def test_a_demonstration_too_short_to_be_judged_is_rejected_without_a_trait():
    interface = interface_of("Lift")
    verdict = Insight(Told(None), "robosuite/Lift", interface).verdict(demonstration(interface, 8))
    assert not verdict.accepted and verdict.trait == ""
    assert verdict.reasons == ("too short to judge: 8 steps of 19",)


def test_a_scripted_operator_looks_at_no_live_scores(dataset, together):
    assert Insight(Told(None), "robosuite/Lift", interface_of("Lift")).live() is None
    elicited(together([Wire()]), dataset, wanted=1, attempts=2, heed=1.0, seed=0)
    device = Dataset.open(dataset.path).metadata("demo_0")["device"]
    assert device["name"] == "informed operator"
