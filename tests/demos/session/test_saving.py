import dataclasses

import numpy as np
import pytest

from demos.session.contracts import Decision, Verdict
from demos.session.saving import Saver, difference, proposal, replayed
from robolearn.errors import DataError

from ..conftest import walk
from .people import Wire


def recorded(steps=4):
    """Record some steps of the wire."""
    env = Wire()
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, 1)).astype(np.float32)
    states = [env.get_state()]
    for action in actions:
        env.step(action)
        states.append(env.get_state())
    return dataclasses.replace(walk(steps=steps), actions=actions, states=np.stack(states))


def test_stored_actions_give_the_same_states_or_not():
    episode = recorded()
    assert replayed(Wire(), episode)["same"]
    actions = episode.actions.copy()
    actions[2] += 0.5
    found = replayed(Wire(), dataclasses.replace(episode, actions=actions))
    assert not found["same"] and found["first_difference"] == 2 and found["steps"] == 4
    assert found["largest"] == pytest.approx(0.5, rel=1e-6)


def test_states_are_compared_bit_by_bit():
    states = np.random.default_rng(0).normal(size=(4, 3))
    assert difference(states, states.copy())["same"]
    strange = states.copy()
    strange[2, 1] = np.nan
    assert difference(strange, strange.copy())["same"]
    assert difference(states, strange)["first_difference"] == 1
    close = states.copy()
    close[3, 0] = np.nextafter(close[3, 0], np.inf)
    assert not difference(states, close)["same"]
    shorter = difference(states, states[:3])
    assert not shorter["same"] and shorter["first_difference"] is None and shorter["steps"] == 2


FITS, MISFIT = Verdict(True, 0.5), Verdict(False, 2.0)


@pytest.mark.parametrize(
    ("success", "verdict", "practice", "proposed"),
    [
        (True, None, False, Decision.KEPT),
        (True, FITS, False, Decision.KEPT),
        (True, MISFIT, False, Decision.REJECTED),
        (False, None, False, Decision.FAILED),
        (True, MISFIT, True, Decision.PRACTICE),
        (False, None, True, Decision.PRACTICE),
    ],
)
def test_what_is_proposed(success, verdict, practice, proposed):
    assert proposal(walk(success=success), verdict, practice) is proposed


def test_without_a_dataset_nothing_is_written():
    saver = Saver(None, lambda episode: MISFIT, Wire())
    saved = saver.save(recorded(), None, practice=False, heed=True).result()
    assert saved.name is None and saved.decision is Decision.REJECTED and saved.replay["same"]
    saver.amend("demo_0", Decision.KEPT).result()
    saver.close()


def test_a_verdict_that_is_not_to_be_heeded_is_stored(dataset):
    saver = Saver(dataset, lambda episode: MISFIT, None)
    saved = saver.save(recorded(), None, practice=False, heed=False).result()
    about = dataset.metadata(saved.name)
    assert about["decision"] == "kept" and about["verdict"]["score"] == 2.0
    assert about["replay"] is None
    saver.close()


def test_what_the_judge_cannot_score_is_rejected_and_stored(dataset):
    def judge(episode):
        raise DataError("step 3: state is not finite")

    saver = Saver(dataset, judge, None)
    saved = saver.save(recorded(), None, practice=False, heed=True).result()
    assert saved.decision is Decision.REJECTED and not saved.clips
    verdict = dataset.metadata(saved.name)["verdict"]
    assert verdict["reasons"] == ["it cannot be judged: step 3: state is not finite"]
    saver.close()


@pytest.mark.parametrize(
    ("chosen", "practice", "decision"),
    [(None, False, "discarded"), (Decision.KEPT, False, "kept"), (None, True, "practice")],
)
def test_a_bug_of_the_judge_does_not_lose_a_demonstration(dataset, chosen, practice, decision):
    def judge(episode):
        raise ZeroDivisionError

    saver = Saver(dataset, judge, None)
    with pytest.raises(ZeroDivisionError):
        saver.save(recorded(), chosen, practice, heed=True).result()
    assert dataset.metadata("demo_0")["decision"] == decision
    saver.close()
