import dataclasses
import warnings

import numpy as np
import pytest

from demos.data.dataset import Dataset
from demos.session.judging import ScorerConfig, make_scorer
from robolearn.algos.bc import BCConfig
from robolearn.errors import DataError, SpecError
from robolearn.judging.judge import JudgeConfig
from robolearn.loops.offline import OfflineConfig
from robolearn.types import ArraySpec, Episode, Spec

PLANE = Spec(
    environment="test/Plane",
    observations={"state": ArraySpec((2,), names=("x", "y"))},
    action=ArraySpec((2,), names=("dx", "dy")),
    period_s=0.05,
)
STEP_M = 0.03


def way(rng, pace=1.0, bend=0.0) -> Episode:
    """Walk from the left to the right with a little noise, in a bow if it is to bend."""
    position, states, actions = np.array([0.0, rng.uniform(-0.1, 0.1)]), [], []
    while position[0] < 1.0:
        action = pace * np.array([0.6, bend * np.cos(np.pi * position[0])])
        action += rng.normal(0, 0.03, 2)
        states.append(position.copy())
        actions.append(action)
        position = position + STEP_M * action
    steps = len(actions)
    return Episode(
        observations={"state": np.array([*states, position], np.float32)},
        actions=np.array(actions, np.float32),
        rewards=np.zeros(steps, np.float32),
        terminated=False, truncated=True, success=True,
        metadata={"operator": "base"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    rng = np.random.default_rng(0)
    dataset = Dataset.create(tmp_path_factory.mktemp("judging") / "base", PLANE)
    for _ in range(12):
        dataset.append(way(rng))
    return str(dataset.path)


def test_harm_rejects_who_dawdles_and_says_where(base):
    scorer = make_scorer(ScorerConfig(base), PLANE)
    rng = np.random.default_rng(1)
    assert scorer.verdict(way(rng)).accepted
    slow = scorer.verdict(way(rng, pace=0.15))
    assert not slow.accepted and slow.score > 1 and slow.reasons
    assert 0 < len(slow.windows) <= 3 and slow.nearest in scorer.base.names
    assert sorted(scorer.closest()) == sorted(scorer.base.names)


def test_who_is_rejected_again_and_again_is_told_that_it_is_their_way(base):
    scorer, rng = make_scorer(ScorerConfig(base), PLANE), np.random.default_rng(3)

    def told(pace, phase="teach"):
        episode = way(rng, pace)
        verdict = scorer.verdict(
            dataclasses.replace(episode, metadata=episode.metadata | {"phase": phase})
        )
        assert verdict.accepted == (pace == 1.0)
        return any("which is no chance" in reason for reason in verdict.reasons)

    assert not any(told(0.15, phase="practice") for _ in range(6))
    assert scorer.summary()["person"]["judged"] == 0
    said = [told(0.15) for _ in range(10)]
    first = said.index(True)
    assert 1 <= first and all(said[first:])
    assert not told(1.0)
    person = scorer.summary()["person"]
    assert not person["fits"] and (person["judged"], person["rejected"]) == (11, 10)
    assert person["evidence"] >= person["line"] == 40.0

    scorer = make_scorer(ScorerConfig(base), PLANE)
    assert not any(told(1.0) for _ in range(6)) and scorer.summary()["person"]["fits"]


def test_what_is_too_short_to_judge_is_told_and_nothing_breaks(base):
    scorer = make_scorer(ScorerConfig(base), PLANE)
    quick = way(np.random.default_rng(6), 4.0)
    assert len(quick) < 19
    verdict = scorer.verdict(quick)
    assert not verdict.accepted and verdict.windows == ()
    assert verdict.reasons == (f"too short to judge: {len(quick)} steps of 19",)


def test_harm_while_it_happens_is_red_for_who_dawdles(base):
    scorer = make_scorer(ScorerConfig(base), PLANE)
    levels = {}
    for pace in (1.0, 0.15):
        episode, live = way(np.random.default_rng(2), pace), scorer.live()
        steps = zip(episode.observations["state"], episode.actions, strict=False)
        said = [live(state, action) for state, action in steps]
        levels[pace] = [one.level for one in said]
        assert [one.values["harm now"] for one in said] == levels[pace]
        so_far, limit = (numbers["harm so far"] for numbers in (said[-1].values, said[-1].limits))
        assert (so_far > limit) == (pace < 1)
    assert np.mean(levels[1.0][12:]) < 0.2 < 0.5 < np.mean(levels[0.15][12:])
    assert all(0 <= level <= 1 for level in levels[0.15])


def test_the_papers_measure_has_the_same_face(base):
    lenient = JudgeConfig(false_rejection_rate=0.2, folds=2)
    small, short = BCConfig(widths=(32,), dropout=0.0, members=3), OfflineConfig(epochs=30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so few and short ones say little, as it warns
        scorer = make_scorer(
            ScorerConfig(
                base, by="compatibility", compatibility=lenient, network=small, training=short
            ),
            PLANE,
        )
        rng = np.random.default_rng(1)
        assert scorer.verdict(way(rng)).accepted
        bent = scorer.verdict(way(rng, bend=0.9))
    assert not bent.accepted and bent.score > 1
    assert bent.reasons and bent.windows and bent.nearest in scorer.base.names
    live = scorer.live()
    state = np.array([0.5, 0.0], np.float32)
    fits, opposes = live(state, np.array([0.6, 0.0])), live(state, np.array([-0.6, 0.0]))
    assert fits.level < opposes.level == 1.0 and opposes.words and not fits.words
    assert opposes.values["M"] == 0.0 and opposes.values["L"] > opposes.limits["L"]
    assert opposes.values["N"] <= opposes.limits["N"] and fits.values["M"] == 1 - fits.level
    assert len(scorer.closest()) == 12 and scorer.summary() == {}


def test_entries_are_matched_by_name(base):
    swapped = dataclasses.replace(PLANE, observations={"state": ArraySpec((2,), names=("y", "x"))})
    scorer = make_scorer(ScorerConfig(base), swapped)
    assert scorer.base.states[0][-1, 1] > 0.9  # x comes second


def test_a_base_that_does_not_fit_or_is_too_small_is_named(base, tmp_path):
    other = dataclasses.replace(PLANE, action=ArraySpec((2,), names=("dx", "dz")))
    with pytest.raises(SpecError, match=r"base .* does not fit the environment: action\[1\]"):
        make_scorer(ScorerConfig(base), other)
    with pytest.raises(DataError, match="no operator 'ann'"):
        make_scorer(ScorerConfig(base, operator="ann"), PLANE)
    small = Dataset.create(tmp_path / "small", PLANE)
    small.append(way(np.random.default_rng(0)))
    with pytest.raises(DataError, match="1 demonstrations say too little"):
        make_scorer(ScorerConfig(str(small.path)), PLANE)
